//! What can go wrong with a request, and the one place where it becomes an answer.

use std::borrow::Cow;
use std::error::Error;

use hyper::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use presence_core::InvalidRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::json::{self, Body, BodyError};
use crate::rate_limit::Standing;
use crate::schema;

/// A request that was refused or failed. What the client reads is fixed text; the causes go to the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ApiError {
    #[error("no such route")]
    NoSuchRoute,
    /// With the methods that the path answers.
    #[error("the route answers {0} only")]
    MethodNotAllowed(String),
    #[error("no valid token")]
    InvalidToken,
    /// Over a limit; the standing tells the client when to come back.
    #[error("over the rate limit")]
    RateLimited(Standing),
    #[error("the token belongs to a sibling of the instance")]
    OtherInstance,
    #[error("no such instance")]
    NoSuchInstance,
    #[error("no such pairing link, or it is void")]
    NoSuchLink,
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the body is too large")]
    BodyTooLarge,
    /// With what exactly is wrong with it.
    #[error("the body is not what the route takes: {0}")]
    InvalidBody(Cow<'static, str>),
    /// The presence request is wrong.
    #[error(transparent)]
    InvalidPresence(#[from] InvalidRequest),
    /// What a client sent is wrong in this way; both texts are for the client.
    #[error("{text}")]
    Invalid {
        text: &'static str,
        detail: &'static str,
    },
    #[error("the account has as many instances as it may")]
    QuotaExceeded,
    #[error("the name is taken")]
    NameTaken,
    /// No live session, or it did not take the stanza in time.
    #[error("the instance is not connected")]
    NotConnected,
    /// No node of the cluster has the instance now, or it does not answer.
    #[error("the instance is out of reach")]
    OutOfReach,
    /// The database that nodes share does not answer.
    #[error("the database does not answer")]
    DatabaseAway,
    /// A client of WAHA asked a session that cannot do it now for something; with that API's word of its state.
    #[error("the session is {status}")]
    SessionNotWorking { session: String, status: &'static str },
    #[error("the instance has no saved session")]
    NoSavedSession,
    #[error("WhatsApp did not answer in time")]
    NoAnswer,
    /// WhatsApp gave no link code, for example because of too many attempts.
    #[error("WhatsApp gave no link code")]
    LinkCodeRefused,
    /// Another request asked for a link code with another number.
    #[error("another link code was asked for meanwhile")]
    LinkCodeSuperseded,
    /// WhatsApp refused the session; with what the client may know of why.
    #[error("WhatsApp refused the session: {0}")]
    SessionRefused(String),
    #[error("there are as many event streams as may be")]
    TooManyStreams,
    #[error("the service is starting")]
    Starting,
    #[error("the service is stopping")]
    Stopping,
    /// Nobody is left to read the answer.
    #[error("the client hung up")]
    ClientGone,
    /// A defect or a broken disk. `doing` and the cause are for the log.
    #[error("{doing}")]
    Internal {
        doing: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl ApiError {
    /// A failure that is no fault of the client's. `doing` says for the log what was tried.
    pub(crate) fn internal(doing: &'static str, source: Option<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal { doing, source }
    }

    /// Status and text, as the contract has them.
    pub(crate) fn answer(&self) -> (StatusCode, String) {
        let (status, text) = match self {
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "Invalid token"),
            Self::RateLimited(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "Rate limit exceeded. Try again later.",
            ),
            Self::OtherInstance => (StatusCode::FORBIDDEN, "Instance token does not match instance"),
            Self::NoSuchInstance => (StatusCode::NOT_FOUND, "Instance not found"),
            Self::NoSuchLink => (StatusCode::NOT_FOUND, "Pairing link not found"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::InvalidBody(_) => (StatusCode::BAD_REQUEST, "Invalid request body"),
            Self::InvalidPresence(fault) => return (StatusCode::BAD_REQUEST, fault.to_string()),
            Self::Invalid { text, .. } => (StatusCode::BAD_REQUEST, *text),
            Self::QuotaExceeded => (StatusCode::FORBIDDEN, "Account instance quota exceeded"),
            Self::NameTaken => (StatusCode::CONFLICT, "Instance name already exists"),
            Self::NotConnected | Self::OutOfReach => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Instance is not connected to WhatsApp",
            ),
            Self::DatabaseAway => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Service is temporarily unavailable",
            ),
            Self::SessionNotWorking { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Instance is not connected to WhatsApp",
            ),
            Self::NoSavedSession => (
                StatusCode::BAD_REQUEST,
                "Instance has no saved session — call /connect first",
            ),
            Self::NoAnswer => (StatusCode::GATEWAY_TIMEOUT, "WhatsApp did not answer in time"),
            Self::LinkCodeRefused => (
                StatusCode::SERVICE_UNAVAILABLE,
                "WhatsApp gave no pairing code. Try again later.",
            ),
            Self::LinkCodeSuperseded => (
                StatusCode::CONFLICT,
                "Another pairing code was requested meanwhile",
            ),
            Self::SessionRefused(why) => {
                return (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("Instance cannot connect: {why}"),
                );
            }
            Self::TooManyStreams => (StatusCode::TOO_MANY_REQUESTS, "Too many event streams"),
            Self::Starting => (StatusCode::SERVICE_UNAVAILABLE, "Service is starting"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "Service is shutting down"),
            Self::ClientGone => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Self::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        };
        (status, text.to_owned())
    }

    /// What exactly was wrong, on every 400; never a value that was sent.
    pub(crate) fn detail(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::InvalidBody(detail) => Some(detail.clone()),
            Self::InvalidPresence(fault) => Some(fault.detail().to_string().into()),
            Self::Invalid { detail, .. } => Some((*detail).into()),
            Self::NoSavedSession => Some("instance: no phone is linked to it".into()),
            _ => None,
        }
    }

    /// The message, with what exactly was wrong, for a reader that gets no headers.
    pub(crate) fn words(&self) -> String {
        let (_, message) = self.answer();
        match self.detail() {
            Some(detail) => format!("{message} ({detail})"),
            None => message,
        }
    }

    /// The answer on the wire.
    pub(crate) fn into_response(self) -> Response<Body> {
        self.into_response_as(|_, status, message| json::respond(status, &ErrorBody::new(message)))
    }

    /// The same with another API's body, which `form` makes of the error, its status and its text. The only way
    /// from an error to a response. What is our own fault is logged here.
    pub(crate) fn into_response_as(
        self,
        form: impl FnOnce(&Self, StatusCode, String) -> Response<Body>,
    ) -> Response<Body> {
        if let Self::Internal { doing, source } = &self {
            let cause = source.as_deref().map(|cause| cause as &dyn Error);
            tracing::error!(error = cause, "{doing}");
        }
        let (status, message) = self.answer();
        let detail = self
            .detail()
            .and_then(|detail| HeaderValue::from_str(&detail).ok());
        let mut response = form(&self, status, message);
        if let Some(detail) = detail {
            response.headers_mut().insert(ERROR_DETAIL, detail);
        }
        match self {
            Self::MethodNotAllowed(allow) => {
                let allow = HeaderValue::from_str(&allow).expect("methods of the table are header text");
                response.headers_mut().insert(ALLOW, allow);
            }
            Self::RateLimited(standing) => standing.write(response.headers_mut()),
            Self::OutOfReach | Self::DatabaseAway => {
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, HeaderValue::from_static(SOON));
            }
            _ => {}
        }
        response
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Timeout => Self::BodyTimeout,
            BodyError::TooLarge => Self::BodyTooLarge,
            BodyError::Invalid(detail) => Self::InvalidBody(detail),
        }
    }
}

/// Seconds until it is worth trying again, when a node or the database is away.
const SOON: &str = "5";

/// Carries what exactly was wrong beside the contract's literal text.
pub(crate) const ERROR_DETAIL: HeaderName = HeaderName::from_static("x-error-detail");

/// The body of every error.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    #[schema(schema_with = schema::failure)]
    success: bool,
    error: ErrorMessage,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
struct ErrorMessage {
    /// One of the texts that the operation lists for the status. They do not change.
    message: String,
}

impl ErrorBody {
    pub(crate) fn new(message: String) -> Self {
        Self {
            success: false,
            error: ErrorMessage { message },
        }
    }
}

#[cfg(test)]
mod tests {
    //! The texts are contract.

    use presence_core::{ChatPresence, ChatPresenceRequest};

    use super::*;

    const API_DOCS: &str = include_str!("../../../docs/api.md");

    fn number_required() -> InvalidRequest {
        let request = ChatPresenceRequest::from_json(b"{}").unwrap();
        ChatPresence::try_from(request).unwrap_err()
    }

    #[test]
    fn every_error_has_its_status_and_text() {
        let table = [
            (ApiError::NoSuchRoute, 404, "Not found"),
            (
                ApiError::MethodNotAllowed("GET".into()),
                405,
                "Method not allowed",
            ),
            (ApiError::InvalidToken, 401, "Invalid token"),
            (
                ApiError::OtherInstance,
                403,
                "Instance token does not match instance",
            ),
            (ApiError::NoSuchInstance, 404, "Instance not found"),
            (ApiError::NoSuchLink, 404, "Pairing link not found"),
            (ApiError::BodyTimeout, 408, "Request timeout"),
            (ApiError::BodyTooLarge, 413, "Request body too large"),
            (ApiError::InvalidBody("x".into()), 400, "Invalid request body"),
            (
                ApiError::InvalidPresence(number_required()),
                400,
                "Number is required",
            ),
            (
                ApiError::Invalid {
                    text: "Instance name is required",
                    detail: "name: it is missing or blank",
                },
                400,
                "Instance name is required",
            ),
            (ApiError::QuotaExceeded, 403, "Account instance quota exceeded"),
            (ApiError::NameTaken, 409, "Instance name already exists"),
            (
                ApiError::NotConnected,
                503,
                "Instance is not connected to WhatsApp",
            ),
            (
                ApiError::SessionNotWorking {
                    session: "shop".into(),
                    status: "STOPPED",
                },
                422,
                "Instance is not connected to WhatsApp",
            ),
            (
                ApiError::NoSavedSession,
                400,
                "Instance has no saved session — call /connect first",
            ),
            (ApiError::NoAnswer, 504, "WhatsApp did not answer in time"),
            (
                ApiError::LinkCodeRefused,
                503,
                "WhatsApp gave no pairing code. Try again later.",
            ),
            (
                ApiError::LinkCodeSuperseded,
                409,
                "Another pairing code was requested meanwhile",
            ),
            (
                ApiError::SessionRefused("banned".into()),
                503,
                "Instance cannot connect: banned",
            ),
            (ApiError::TooManyStreams, 429, "Too many event streams"),
            (ApiError::Starting, 503, "Service is starting"),
            (ApiError::Stopping, 503, "Service is shutting down"),
            (ApiError::ClientGone, 408, "Request timeout"),
            (
                ApiError::Internal {
                    doing: "reading the moon",
                    source: None,
                },
                500,
                "Internal server error",
            ),
            (ApiError::OutOfReach, 503, "Instance is not connected to WhatsApp"),
            (ApiError::DatabaseAway, 503, "Service is temporarily unavailable"),
        ];
        for (error, status, text) in table {
            assert_eq!(
                error.answer(),
                (StatusCode::from_u16(status).unwrap(), text.to_owned())
            );
            assert_eq!(error.detail().is_some(), status == 400, "{error:?}");
            // Where a text names something, the docs have a placeholder.
            let documented = text.replace("connect: banned", "connect: …");
            assert!(
                API_DOCS.contains(&format!("`{documented}`")),
                "docs/api.md does not tell of {documented:?}"
            );
        }
    }
}
