//! Errors as answers: by status, each text an example.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::Value;
use utoipa::ToSchema as _;
use utoipa::openapi::Ref;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};

use super::headers;
use crate::error::{ApiError, ErrorBody};

/// The media type of every error.
const JSON: &str = "application/json";

/// The texts of `errors`, each once, in their order.
pub(super) fn by_status(errors: &[ApiError]) -> BTreeMap<StatusCode, Vec<String>> {
    let mut grouped: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for error in errors {
        let (status, text) = error.answer();
        let texts = grouped.entry(status).or_default();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    grouped
}

/// The answer to what is refused with `status`, in one of these words; `finish` adds what every answer has.
pub(super) fn refusal(
    status: StatusCode,
    texts: &[String],
    finish: impl Fn(ResponseBuilder) -> ResponseBuilder,
) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ErrorBody::name())))
        .examples_from_iter(texts.iter().map(|text| (example_name(text), example(text))));
    let quoted: Vec<_> = texts.iter().map(|text| format!("`{text}`")).collect();
    let answer = ResponseBuilder::new()
        .description(quoted.join(" · "))
        .content(JSON, content.build());
    let answer = match status {
        StatusCode::BAD_REQUEST => headers::ERROR_DETAIL.add_to(answer),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers::RETRY_AFTER.add_to(answer)
        }
        _ => answer,
    };
    finish(answer).build()
}

fn example(text: &str) -> Example {
    let body = serde_json::to_value(ErrorBody::new(text.to_owned())).unwrap_or(Value::Null);
    ExampleBuilder::new().summary(text).value(Some(body)).build()
}

/// The first words of `text` as a name of an example.
fn example_name(text: &str) -> String {
    words(text).collect::<Vec<_>>().join("_").to_lowercase()
}

/// The first clause of `text` as a name of a component.
pub(super) fn in_camel_case(text: &str) -> String {
    let clause = text.split(['.', '—']).next().unwrap_or(text);
    let capitalised = words(clause).map(|word| word[..1].to_uppercase() + &word[1..]);
    capitalised.collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).take(6)
}
