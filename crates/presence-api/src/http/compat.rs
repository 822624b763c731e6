//! Routes of other gateways, so that flows built for those work here by changing a base URL. Each API is a file
//! that turns its requests into the calls and types of our own, and their outcome into its answers.

mod evolution;
mod waha;

use hyper::Response;
use presence_core::{ChatPresence, ChatPresenceRequest, Hold, PresenceState};
use serde::Serialize;
use serde_json::value::RawValue;

pub(super) use self::evolution::answer as evolution;
pub(super) use self::waha::answer as waha;
use crate::compat::CompatApi;
use crate::error::ApiError;
use crate::json::Body;

/// `error` in the form of `api`. `name` is the instance's in the request's path, if it has one.
pub(super) fn refuse(api: CompatApi, error: ApiError, name: &str) -> Response<Body> {
    match api {
        CompatApi::Evolution => evolution::refuse(error, name),
        CompatApi::Waha => waha::refuse(error),
    }
}

/// A presence in the words of our own request, whose rules then decide what `number` may be. It is the JSON that
/// was sent.
fn presence(
    number: Option<&RawValue>,
    state: PresenceState,
    duration: Option<Hold>,
) -> Result<ChatPresence, ApiError> {
    #[derive(Serialize)]
    struct Request<'a> {
        number: Option<&'a RawValue>,
        state: PresenceState,
        duration: Option<Hold>,
    }

    let request = Request {
        number,
        state,
        duration,
    };
    let request = serde_json::to_vec(&request).expect("strings, numbers and JSON are JSON");
    Ok(ChatPresence::try_from(ChatPresenceRequest::from_json(&request)?)?)
}
