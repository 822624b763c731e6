//! The headers of answers that mean something to a client.

use utoipa::openapi::Ref;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// A header, as it is described once and referred to by answers.
pub(super) struct AnswerHeader {
    /// Its name on the wire.
    pub(super) name: &'static str,
    /// Its name among the components.
    pub(super) component: &'static str,
    kind: Kind,
    description: &'static str,
}

enum Kind {
    Text,
    Number,
}

pub(super) const REQUEST_ID: AnswerHeader = AnswerHeader {
    name: "X-Request-Id",
    component: "RequestId",
    kind: Kind::Text,
    description: "The name of the request in the service's log: its own, where it had a sane one, or else a new one.",
};
pub(super) const ERROR_DETAIL: AnswerHeader = AnswerHeader {
    name: "X-Error-Detail",
    component: "ErrorDetail",
    kind: Kind::Text,
    description: "What exactly was wrong, such as `duration: a number of seconds is needed`; never a value that was sent.",
};
pub(super) const RETRY_AFTER: AnswerHeader = AnswerHeader {
    name: "Retry-After",
    component: "RetryAfter",
    kind: Kind::Number,
    description: "Seconds until another try may succeed: until the window ends, or, in a cluster, until what the request needs is back. \
                  Not where there are too many event streams, and with 503 in a cluster alone.",
};
pub(super) const RATE_LIMIT: [AnswerHeader; 3] = [
    AnswerHeader {
        name: "X-RateLimit-Limit",
        component: "RateLimitLimit",
        kind: Kind::Number,
        description: "How many requests a minute the token may make. Absent, like the two others, where there is no limit.",
    },
    AnswerHeader {
        name: "X-RateLimit-Remaining",
        component: "RateLimitRemaining",
        kind: Kind::Number,
        description: "How many more it may make in this window.",
    },
    AnswerHeader {
        name: "X-RateLimit-Reset",
        component: "RateLimitReset",
        kind: Kind::Number,
        description: "When the window ends, in Unix seconds.",
    },
];
pub(super) const QR_VALID_FOR: AnswerHeader = AnswerHeader {
    name: "X-QR-Valid-For",
    component: "QrValidFor",
    kind: Kind::Number,
    description: "Whole seconds until WhatsApp renews the QR code. Only beside one.",
};

/// All of them.
pub(super) static ALL: [&AnswerHeader; 7] = [
    &REQUEST_ID,
    &ERROR_DETAIL,
    &RETRY_AFTER,
    &RATE_LIMIT[0],
    &RATE_LIMIT[1],
    &RATE_LIMIT[2],
    &QR_VALID_FOR,
];

impl AnswerHeader {
    /// `answer`, with this header.
    pub(super) fn add_to(&self, answer: ResponseBuilder) -> ResponseBuilder {
        let reference = Ref::new(format!("#/components/headers/{}", self.component));
        answer.header_ref(self.name, reference)
    }

    pub(super) fn build(&self) -> Header {
        let schema = match self.kind {
            Kind::Text => ObjectBuilder::new().schema_type(Type::String),
            Kind::Number => ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)),
        };
        HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(self.description))
            .build()
    }
}
