//! Bodies in and out: read up to a limit of size and time, and answered as JSON.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::Segment;
use tokio::time::timeout;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

pub(crate) use crate::body::Body;
use crate::schema;

/// The largest body a request may have. The longest that means anything is under a kilobyte.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// The same where it may have the text of a message. WhatsApp takes 65,536 UTF-16 units, and JSON that is all
/// escapes has six bytes for each: 384 KiB, and room for the rest.
pub(crate) const MAX_MESSAGE_BODY: usize = 512 * 1024;
/// How much of a body that nobody wants is read away, so that the client gets to read the answer.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// What most answers have room in.
const USUAL_ANSWER: usize = 256;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A body that is not what the route takes.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It did not arrive in time.
    Timeout,
    TooLarge,
    /// With what exactly is wrong with it.
    Invalid(Cow<'static, str>),
}

/// Reads a request's body whole.
///
/// # Errors
/// [`BodyError::TooLarge`] past `most` bytes, [`BodyError::Timeout`] past `limit`, and
/// [`BodyError::Invalid`] when the client stopped in the middle of it.
pub(crate) async fn read_body<B>(body: &mut B, most: usize, limit: Duration) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > most as u64 {
        return Err(BodyError::TooLarge);
    }
    timeout(limit, collect(body, most))
        .await
        .map_err(|_| BodyError::Timeout)?
}

async fn collect<B>(body: &mut B, most: usize) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame
            .map_err(|_| BodyError::Invalid("body: it ended too early".into()))?
            .into_data()
        else {
            continue;
        };
        if first.len() + more.len() + data.len() > most {
            return Err(BodyError::TooLarge);
        }
        // Nearly every body is one frame, which then is not copied.
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
    }
    if more.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&more);
    Ok(whole.freeze())
}

/// Reads away what is left of a body after its request was answered. Closing the connection over unread bytes
/// would reset it, and with it the answer that the client has not read yet.
pub(crate) async fn discard<B>(mut body: B, limit: Duration)
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let read_away = async {
        let mut left = MAX_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Past the limit the connection is closed, which is all that is left to do.
    let _ = timeout(limit, read_away).await;
}

/// Reads a JSON object.
///
/// # Errors
/// [`BodyError::Invalid`] for anything else. Its detail names the field and the place, never a value.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    // serde_json does not look into the strings of ignored fields, so UTF-8 is checked here.
    let body = str::from_utf8(body).map_err(|_| BodyError::Invalid("body: it is not UTF-8".into()))?;
    // Serde would read an array into a struct, field by field.
    if !body.trim_ascii_start().starts_with('{') {
        return Err(BodyError::Invalid("body: a JSON object is needed".into()));
    }
    let json = &mut serde_json::Deserializer::from_str(body);
    let read = serde_path_to_error::deserialize(&mut *json).map_err(|error| fault(&error))?;
    // What follows the object would be taken for a mistake of the client's by no one else.
    json.end().map_err(|error| not_json(&error))?;
    Ok(read)
}

/// What is wrong with a body, in words that hold nothing of it. serde_json's own quote values.
fn fault(error: &serde_path_to_error::Error<serde_json::Error>) -> BodyError {
    let json = error.inner();
    match (json.classify(), error.path().iter().next()) {
        // A field of ours: a name that the client chose has no type to be wrong.
        (Category::Data, Some(Segment::Map { key })) if key.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            BodyError::Invalid(
                format!("{key}: it is there twice, or a value of another type is needed").into(),
            )
        }
        (Category::Data, _) => BodyError::Invalid("body: a field is there twice, or has a wrong type".into()),
        _ => not_json(json),
    }
}

fn not_json(error: &serde_json::Error) -> BodyError {
    let (line, column) = (error.line(), error.column());
    BodyError::Invalid(format!("body: it is no JSON at line {line}, column {column}").into())
}

/// `content` as JSON under `status`, a line of it.
pub(crate) fn respond(status: StatusCode, content: &impl Serialize) -> Response<Body> {
    let mut text = Vec::with_capacity(USUAL_ANSWER);
    serde_json::to_writer(&mut text, content)
        .expect("our own types are JSON: string keys, no failing Serialize");
    // So that a shell's prompt begins on a line of its own.
    text.push(b'\n');
    let mut response = Response::new(Body::from(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A success: `"success":true`, the message, and `rest`'s own fields. Its schema is that of one flat object, by the
/// name of `T`.
#[derive(Serialize)]
pub(crate) struct Success<'a, T> {
    success: bool,
    message: &'a str,
    #[serde(flatten)]
    rest: T,
}

impl<T: ToSchema> ToSchema for Success<'_, T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

impl<T: PartialSchema> PartialSchema for Success<'_, T> {
    fn schema() -> RefOr<Schema> {
        schema::success_with(T::schema())
    }
}

/// Answers a success under `status`.
pub(crate) fn succeed(status: StatusCode, message: &str, rest: impl Serialize) -> Response<Body> {
    respond(
        status,
        &Success {
            success: true,
            message,
            rest,
        },
    )
}

#[cfg(test)]
mod tests {
    //! Bodies by example; whole requests are tested over a connection.

    use std::collections::HashMap;

    use http_body_util::Full;

    use super::*;

    #[test]
    fn only_an_object_is_a_body() {
        type Fields = HashMap<String, u8>;
        assert!(parse::<Fields>(b" \n{\"a\":1}").is_ok());
        for body in [
            &b""[..],
            b"[]",
            b"null",
            b"1",
            b"\"{}\"",
            b"{",
            b"{\"a\":1}}",
            b"\xff{}",
            b"{\"a\":\"\xff\"}",
        ] {
            assert!(
                matches!(parse::<Fields>(body), Err(BodyError::Invalid(_))),
                "{body:?}"
            );
        }
    }

    #[test]
    fn the_detail_names_the_field_and_never_the_value() {
        #[derive(Debug, serde::Deserialize)]
        struct Fields {
            #[serde(rename = "keepOnlineStatus")]
            _keep: Option<bool>,
        }
        let table = [
            (
                r#"{"keepOnlineStatus":"secret"}"#,
                "keepOnlineStatus: it is there twice, or a value of another type is needed",
            ),
            (
                r#"{"keepOnlineStatus":true,"keepOnlineStatus":true}"#,
                "body: a field is there twice, or has a wrong type",
            ),
            (
                r#"{"keepOnlineStatus":tru"#,
                "body: it is no JSON at line 1, column 23",
            ),
            ("{} secret", "body: it is no JSON at line 1, column 4"),
            ("[]", "body: a JSON object is needed"),
        ];
        for (body, expected) in table {
            match parse::<Fields>(body.as_bytes()) {
                Err(BodyError::Invalid(detail)) => assert_eq!(detail, expected, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_in_size_and_in_time() {
        const LIMIT: Duration = Duration::from_secs(10);
        let whole = read_body(&mut Full::new(Bytes::from(vec![b' '; MAX_BODY])), MAX_BODY, LIMIT)
            .await
            .unwrap();
        assert_eq!(whole.len(), MAX_BODY);
        let longer = Bytes::from(vec![b' '; MAX_BODY + 1]);
        let too_large = read_body(&mut Full::new(longer.clone()), MAX_BODY, LIMIT).await;
        assert!(matches!(too_large, Err(BodyError::TooLarge)));
        let message = read_body(&mut Full::new(longer), MAX_MESSAGE_BODY, LIMIT).await;
        assert!(message.is_ok());

        let never = futures_util::stream::pending::<Result<hyper::body::Frame<Bytes>, std::io::Error>>();
        let stalled = read_body(&mut http_body_util::StreamBody::new(never), MAX_BODY, LIMIT).await;
        assert!(matches!(stalled, Err(BodyError::Timeout)));
    }
}
