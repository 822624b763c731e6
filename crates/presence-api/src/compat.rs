//! The APIs of other gateways, some of whose routes are answered here too when the operator says so: which there
//! are, and how their clients name themselves. What their routes mean is in `http/compat`.

use std::str::FromStr;

use hyper::header::HeaderName;

/// Another gateway's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompatApi {
    /// Evolution API v2.
    Evolution,
    /// WAHA, the WhatsApp HTTP API.
    Waha,
}

impl CompatApi {
    /// The one field in which its clients send their token.
    pub(crate) const fn token_header(self) -> HeaderName {
        match self {
            Self::Evolution => HeaderName::from_static("apikey"),
            Self::Waha => HeaderName::from_static("x-api-key"),
        }
    }
}

/// Reads `evolution` or `waha`.
impl FromStr for CompatApi {
    type Err = UnknownApi;

    fn from_str(text: &str) -> Result<Self, UnknownApi> {
        match text {
            "evolution" => Ok(Self::Evolution),
            "waha" => Ok(Self::Waha),
            _ => Err(UnknownApi),
        }
    }
}

/// A text that names no API whose routes are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is evolution or waha")]
pub struct UnknownApi;

/// What answers a route of Evolution API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvolutionEndpoint {
    SendPresence,
    SetPresence,
    ConnectionState,
    FetchInstances,
}

/// What answers a route of WAHA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WahaEndpoint {
    StartTyping,
    StopTyping,
    Presence,
    Sessions,
    Session,
}
