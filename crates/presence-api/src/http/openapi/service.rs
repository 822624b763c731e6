//! What serves probes, monitoring, tools and agents.

use utoipa::openapi::Content;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::description::Description;
use super::section::Section;
use crate::error::ApiError;
use crate::http::health::{Health, Probe};
use crate::schema;

pub(super) fn mcp() -> Description {
    let message = || {
        let object = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("A message of JSON-RPC 2.0."));
        Content::new(Some(object))
    };
    let refused = || Content::new(Some(schema::text("Why, in MCP's own form.")));
    Description::new(
        Section::Agents,
        "sendMcpMessage",
        "Speak MCP",
        "The presences as tools of the Model Context Protocol, in its streamable HTTP form without sessions or streams; \
         what MCP itself refuses, it refuses in its own form. Only where the operator has switched it on.",
    )
    .with_token()
    .takes_content(message())
    .answers_content(200, "The answer to a request.", "application/json", message())
    .answers_nothing(202, "A notification is taken.")
    .answers_content(406, "`Accept` lacks what MCP asks for.", "text/plain", refused())
    .answers_content(415, "The body is said to be no JSON.", "text/plain", refused())
    .refuses([ApiError::NoSuchRoute])
}

pub(super) fn health() -> Description {
    let about = "A session that is not connected is no fault of the service.";
    described("getHealth", "Tell whether the service does its work", about)
        .answers::<Health>(200, "It does.")
        .answers::<Health>(503, "It does not, or not yet; `checks` say why.")
}

pub(super) fn livez() -> Description {
    let about = "Answered from the first moment of the process to its last.";
    described("getLiveness", "Tell whether the process runs", about).answers::<Probe>(200, "It does.")
}

pub(super) fn readyz() -> Description {
    let about = "Not until the data directory is open, and not from the first sign of the end.";
    described("getReadiness", "Tell whether requests are taken", about)
        .answers::<Probe>(200, "They are.")
        .answers::<Probe>(503, "They are not.")
}

pub(super) fn metrics() -> Description {
    let about = "In the text format of Prometheus. Only where the operator has switched it on.";
    let text = Content::new(Some(schema::text("Metrics in the text format of Prometheus.")));
    described("getMetrics", "Read the metrics", about)
        .answers_content(200, "The metrics.", "text/plain", text)
        .refuses([ApiError::NoSuchRoute])
}

pub(super) fn openapi() -> Description {
    let document = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("A document of OpenAPI 3.1."));
    described("getOpenApi", "Read this document", "The API for tools.").answers_content(
        200,
        "This document.",
        "application/json",
        Content::new(Some(document)),
    )
}

fn described(id: &str, summary: &str, about: &str) -> Description {
    Description::new(Section::Service, id, summary, about)
}
