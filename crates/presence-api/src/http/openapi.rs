//! `GET /openapi.json`: the API for tools that make clients, and for `/docs`.
//!
//! The document is made of the route table ([`operations`] has one description for each of its rows), of the schemas
//! that the wire types derive, and of the errors themselves. So it tells of what there is.

mod description;
mod headers;
mod instances;
mod operations;
mod presences;
mod refusals;
mod section;
mod service;
mod webhooks;

use std::sync::LazyLock;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response};
use utoipa::openapi::path::{HttpMethod, Paths};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Server};

use self::description::{Named, any_token};
use self::section::Section;
use crate::json::Body;
use crate::routes::ROUTES;

const ABOUT: &str = "\
Shows “typing…” and “recording audio…” on the phones of WhatsApp's users, for exactly as long as you say.

Every answer of the API is JSON. A success begins with `\"success\":true`; an error is an `ErrorBody`, whose texts do not \
change: each operation lists those that it answers. What exactly was wrong with a request, `X-Error-Detail` says on every \
400.

`HEAD` is answered wherever `GET` changes nothing. Beside what an operation lists, every path answers 404 `Not found`, 405 \
`Method not allowed`, and what is no proper HTTP 400, 408 or 431. The routes of other gateways, which the operator may \
switch on, are not described here.";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let json = document().to_pretty_json();
    json.expect("it is made of texts and numbers alone") + "\n"
});

/// The API as a document of OpenAPI 3.1, in JSON.
#[must_use]
pub fn openapi() -> &'static str {
    &DOCUMENT
}

/// The document, for whoever asks.
pub(super) fn serve() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(openapi().as_bytes())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn document() -> OpenApi {
    let mut named = Named::default();
    let mut paths = Paths::new();
    for route in ROUTES.iter().filter(|route| route.compat.is_none()) {
        let Some(described) = operations::describe(route.endpoint) else {
            continue;
        };
        let operation = described.into_operation(route, &mut named);
        paths.add_path_operation(template(route.path), vec![method(&route.method)], operation);
    }
    let info = InfoBuilder::new()
        .title("Presence")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(
            LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build(),
        ));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(named.schemas)
        .responses_from_iter(named.refusals);
    let components = headers::ALL
        .iter()
        .fold(components, |components, header| {
            components.header(header.component, header.build())
        })
        .security_scheme(
            "token",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                "token",
                "A token of an account, which reaches everything in it, or of an instance, which reaches itself.",
            ))),
        )
        .security_scheme(
            "bearer",
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("The same token. Where both are there, `token` counts."))
                    .build(),
            ),
        );
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([Server::new("/")]))
        .paths(paths)
        .webhooks(Some(webhooks::told()))
        .components(Some(components.build()))
        .security(Some(any_token()))
        .tags(Some(Section::ALL.map(Section::tag)))
        .build()
}

/// A path of the table as OpenAPI writes it.
fn template(path: &str) -> String {
    path.replace(":instance", "{instance}")
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::GET => HttpMethod::Get,
        Method::POST => HttpMethod::Post,
        Method::DELETE => HttpMethod::Delete,
        _ => unreachable!("the table has no other"),
    }
}

#[cfg(test)]
mod tests {
    //! The document, the file that is made of it, and `docs/api.md` are held against the route table.

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const API_DOCS: &str = include_str!("../../../../docs/api.md");
    const COMPAT_DOCS: &str = include_str!("../../../../docs/compat.md");

    #[test]
    fn the_file_is_what_is_generated() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written == openapi(), "run `cargo xtask openapi`");
    }

    #[test]
    fn it_describes_the_routes_there_are_and_no_other() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                described.insert((path.replace("{instance}", ":instance"), method.to_uppercase()));
            }
        }
        let ours = ROUTES
            .iter()
            .filter(|route| route.compat.is_none() && !route.page);
        let routes = ours.map(|route| (route.path.to_owned(), route.method.to_string()));
        assert_eq!(described, routes.collect());
        for (path, method) in described {
            let documented = format!("`{method} {path}");
            assert!(API_DOCS.contains(&documented), "docs/api.md has no {documented}`");
        }
    }

    #[test]
    fn the_routes_of_other_gateways_are_documented_on_a_page_of_their_own() {
        for route in ROUTES.iter().filter(|route| route.compat.is_some()) {
            let documented = format!("`{} {}", route.method, route.path);
            assert!(
                COMPAT_DOCS.contains(&documented),
                "docs/compat.md has no {documented}`"
            );
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document: Value = serde_json::from_str(openapi()).unwrap();
        let named = openapi().split("\"$ref\": \"#").skip(1);
        let mut count = 0;
        for pointer in named.filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(pointer).is_some(), "there is no {pointer}");
            count += 1;
        }
        assert!(count > 100);
    }
}
