//! `GET /api/instance/connect/:instance`.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use presence_core::PhoneNumber;
use presence_store::Instance;
use presence_wa::{ConnectError, Connected, PairWith};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::reply::Status;
use crate::display_status::why;
use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::qr::{Picture, PictureError};
use crate::schema;

/// The contract's text for a wrong number anywhere.
pub(in crate::http) const INVALID_NUMBER: ApiError = ApiError::Invalid {
    text: "Invalid number. Use a phone number with country code, or a JID",
    detail: "number: a phone number of at least 7 digits, with country code, is needed",
};

/// Whole seconds until WhatsApp renews the QR code.
const QR_VALID_FOR: HeaderName = HeaderName::from_static("x-qr-valid-for");

/// WhatsApp gives no link code to a number with fewer digits.
const LINK_CODE_DIGITS: usize = 7;

/// A QR code for the phone to scan.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QrCode)]
pub(in crate::http) struct QrReply {
    /// What the QR code says.
    qr_code: String,
    /// The same as a picture: a `data:` URL of a PNG.
    qr_code_base64: String,
    #[schema(schema_with = schema::qr)]
    status: &'static str,
}

/// A code for the phone's owner to type.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PairingCode)]
pub(in crate::http) struct CodeReply<'a> {
    #[schema(examples("ABCD-EFGH"))]
    pairing_code: &'a str,
    #[schema(schema_with = schema::pairing)]
    status: &'static str,
}

/// Opens the saved session, or starts to pair and answers what the phone needs: the current QR code, or with
/// `?number=` a link code. Any other parameter, such as the reference API's `history`, means nothing here.
pub(in crate::http) async fn connect(
    instances: &Instances,
    instance: &Instance,
    query: Option<&str>,
    hold: Duration,
) -> Result<Response<Body>, ApiError> {
    link(instances, instance, pair_with(query)?, hold).await
}

/// The same, without a query.
pub(in crate::http) async fn link(
    instances: &Instances,
    instance: &Instance,
    how: PairWith,
    hold: Duration,
) -> Result<Response<Body>, ApiError> {
    let connected = timeout(hold, instances.connect(instance, how))
        .await
        .map_err(|_| ApiError::NoAnswer)??;
    match connected {
        Connected::Already => Ok(already_connected()),
        Connected::Qr { code, valid_for } => {
            let qr_code_base64 = Picture::of(&code)?.to_data_url()?;
            let reply = QrReply {
                qr_code: code,
                qr_code_base64,
                status: "qr",
            };
            let mut response = json::succeed(StatusCode::OK, "QR code generated", reply);
            // Beside the contract's fields, which are these and no other.
            response
                .headers_mut()
                .insert(QR_VALID_FOR, HeaderValue::from(valid_for.as_secs()));
            Ok(response)
        }
        Connected::LinkCode(code) => {
            let reply = CodeReply {
                pairing_code: code.as_str(),
                status: "pairing",
            };
            Ok(json::succeed(StatusCode::OK, "Pairing code generated", reply))
        }
    }
}

/// Nothing is needed any more.
pub(in crate::http) fn already_connected() -> Response<Body> {
    let status = Status { status: "connected" };
    json::succeed(StatusCode::OK, "Instance is already connected", status)
}

/// `?number=` asks for a link code; without it, or with an empty one, a QR code is meant.
fn pair_with(query: Option<&str>) -> Result<PairWith, ApiError> {
    let number = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(key, value)| key == "number" && !value.trim().is_empty());
    match number {
        None => Ok(PairWith::Qr),
        Some((_, number)) => link_code_for(&number),
    }
}

/// A link code for the phone with this number.
pub(in crate::http) fn link_code_for(number: &str) -> Result<PairWith, ApiError> {
    let number = number.parse::<PhoneNumber>().ok();
    number
        .filter(|number| number.as_str().len() >= LINK_CODE_DIGITS)
        .map(PairWith::LinkCode)
        .ok_or(INVALID_NUMBER)
}

impl From<ConnectError> for ApiError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Stopped(Some(reason)) => Self::SessionRefused(why(reason, Instant::now())),
            ConnectError::LinkCodeRefused => Self::LinkCodeRefused,
            ConnectError::Superseded => Self::LinkCodeSuperseded,
            // Removed while this request waited.
            ConnectError::Gone => Self::NoSuchInstance,
            _ => Self::NotConnected,
        }
    }
}

impl From<PictureError> for ApiError {
    fn from(error: PictureError) -> Self {
        Self::internal("drawing a QR code", Some(error.into()))
    }
}

#[cfg(test)]
mod tests {
    //! What a query asks for.

    use super::*;

    #[test]
    fn a_number_asks_for_a_link_code() {
        let code = |number: &str| Some(PairWith::LinkCode(number.parse().unwrap()));
        let table = [
            (None, Some(PairWith::Qr)),
            (Some("history=true"), Some(PairWith::Qr)),
            (Some("history=1&number=1234567"), code("1234567")),
            (Some(""), Some(PairWith::Qr)),
            (Some("number="), Some(PairWith::Qr)),
            (Some("number=+"), Some(PairWith::Qr)),
            (Some("number=5511999999999"), code("5511999999999")),
            (Some("number=%2B55%20(11)%2099999-9999"), code("5511999999999")),
            (Some("number=+55+11+99999+9999"), code("5511999999999")),
            (Some("number=1234567"), code("1234567")),
            (Some("number=123456"), None),
            (Some("number=12"), None),
            (Some("number=abc"), None),
            (Some("number=%ff"), None),
        ];
        for (query, expected) in table {
            assert_eq!(pair_with(query).ok(), expected, "{query:?}");
        }
    }
}
