//! `GET /api/instance/getProxy/:instance` and `POST /api/instance/proxy/:instance`.

use std::num::NonZeroU16;

use hyper::{Response, StatusCode};
use presence_store::Instance;
use presence_wa::{InvalidProxy, Proxy, ProxyCredentials, ProxyHost, ProxyProtocol};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::proxy::KeptProxyError;
use crate::schema;

/// A proxy as clients send it: of nothing it is known yet whether it is one. There is no `Debug` for it.
#[derive(Default, Deserialize, ToSchema)]
#[schema(
    as = ProxyChange,
    description = "The proxy to have from now on. What is left out is gone, the password too."
)]
pub(in crate::http) struct SentProxy {
    /// `true` needs `host`, `port` and `protocol`. `false` removes the proxy, and nothing else counts.
    #[schema(required = true, nullable = false)]
    pub(super) enabled: Option<bool>,
    /// A host name or an IP address.
    #[schema(nullable = false)]
    pub(super) host: Option<String>,
    #[schema(nullable = false)]
    pub(super) port: Option<SentPort>,
    #[schema(schema_with = schema::proxy_protocol)]
    pub(super) protocol: Option<String>,
    #[schema(nullable = false)]
    pub(super) username: Option<String>,
    #[schema(write_only, nullable = false)]
    pub(super) password: Option<String>,
}

/// A port. The reference API writes it as a text.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ProxyPort)]
pub(in crate::http) enum SentPort {
    Number(u64),
    Text(String),
}

/// A proxy as clients read it. It never shows the password.
#[derive(Serialize, ToSchema)]
#[schema(as = Proxy)]
struct ShownProxy {
    enabled: bool,
    #[schema(required = true)]
    host: Option<String>,
    #[schema(required = true)]
    port: Option<String>,
    #[schema(required = true)]
    protocol: Option<&'static str>,
    #[schema(required = true)]
    username: Option<String>,
}

/// The proxy of an instance, without its password. All of it is `null` when it has none.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ProxyReply {
    proxy: ShownProxy,
}

/// Shows the proxy of an instance, or that it has none.
pub(in crate::http) fn get_proxy(
    instances: &Instances,
    instance: &Instance,
) -> Result<Response<Body>, ApiError> {
    let proxy = instances.proxy(instance)?;
    Ok(reply(
        "Proxy configuration retrieved successfully",
        proxy.as_ref(),
    ))
}

/// Gives an instance another proxy, or none. It is durable before this is answered; the next connection is made
/// through it.
pub(in crate::http) async fn change_proxy(
    instances: &Instances,
    instance: &Instance,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let sent: SentProxy = json::parse(body)?;
    if sent.enabled.is_none() {
        let detail = "enabled: true or false is needed";
        return Err(ApiError::InvalidBody(detail.into()));
    }
    let proxy = sent.read()?;
    if !instances.set_proxy(instance, proxy.as_ref()).await? {
        return Err(ApiError::NoSuchInstance);
    }
    Ok(reply("Proxy configuration updated successfully", proxy.as_ref()))
}

fn reply(message: &str, proxy: Option<&Proxy>) -> Response<Body> {
    let proxy = ShownProxy::from(proxy);
    json::succeed(StatusCode::OK, message, ProxyReply { proxy })
}

impl SentProxy {
    /// The proxy that was sent; `None` when it is not enabled, and then nothing else of it counts.
    ///
    /// # Errors
    /// The first of what is wrong with it, in the order of its fields.
    pub(super) fn read(self) -> Result<Option<Proxy>, ApiError> {
        if self.enabled != Some(true) {
            return Ok(None);
        }
        let host = sent(self.host).ok_or(HOST_REQUIRED)?;
        let host: ProxyHost = host.parse()?;
        let port = match self.port {
            Some(SentPort::Number(number)) => u16::try_from(number).ok().and_then(NonZeroU16::new),
            Some(SentPort::Text(text)) if text.trim().is_empty() => return Err(PORT_REQUIRED),
            Some(SentPort::Text(text)) => text.trim().parse().ok(),
            None => return Err(PORT_REQUIRED),
        };
        let port = port.ok_or(INVALID_PORT)?;
        let protocol = sent(self.protocol).ok_or(PROTOCOL_REQUIRED)?;
        let protocol: ProxyProtocol = protocol.parse()?;
        // Neither is trimmed: a space may be a part of it.
        let username = self.username.filter(|name| !name.is_empty());
        let password = self.password.filter(|password| !password.is_empty());
        let credentials = match (username, password) {
            (None, None) => None,
            (username, password) => Some(ProxyCredentials::new(
                username.unwrap_or_default(),
                password.unwrap_or_default(),
            )?),
        };
        Ok(Some(Proxy::new(protocol, host, port, credentials)?))
    }
}

/// A text without the space around it; one that is blank was not sent.
fn sent(text: Option<String>) -> Option<String> {
    let text = text?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

impl From<Option<&Proxy>> for ShownProxy {
    fn from(proxy: Option<&Proxy>) -> Self {
        let credentials = proxy.and_then(Proxy::credentials);
        Self {
            enabled: proxy.is_some(),
            host: proxy.map(|proxy| proxy.host().to_string()),
            port: proxy.map(|proxy| proxy.port().to_string()),
            protocol: proxy.map(|proxy| proxy.protocol().as_str()),
            username: credentials.map(|credentials| credentials.username().to_owned()),
        }
    }
}

impl From<InvalidProxy> for ApiError {
    fn from(error: InvalidProxy) -> Self {
        match error {
            InvalidProxy::Host => INVALID_HOST,
            InvalidProxy::Protocol => INVALID_PROTOCOL,
            InvalidProxy::Username | InvalidProxy::Colon => INVALID_USERNAME,
            InvalidProxy::Password => INVALID_PASSWORD,
            error => Self::internal("a proxy is wrong in an unknown way", Some(error.into())),
        }
    }
}

impl From<KeptProxyError> for ApiError {
    fn from(error: KeptProxyError) -> Self {
        Self::internal("the proxy of an instance cannot be read", Some(error.into()))
    }
}

/// What may be wrong with a proxy, in the order in which it is looked at.
pub(in crate::http) const FAULTS: [ApiError; 8] = [
    HOST_REQUIRED,
    INVALID_HOST,
    PORT_REQUIRED,
    INVALID_PORT,
    PROTOCOL_REQUIRED,
    INVALID_PROTOCOL,
    INVALID_USERNAME,
    INVALID_PASSWORD,
];

const HOST_REQUIRED: ApiError = ApiError::Invalid {
    text: "Proxy host is required",
    detail: "proxy host: it is missing or blank",
};
const INVALID_HOST: ApiError = ApiError::Invalid {
    text: "Invalid proxy host. Use a host name or an IP address, without a port",
    detail: "proxy host: a name or an address is needed, without a scheme, a port or a path",
};
const PORT_REQUIRED: ApiError = ApiError::Invalid {
    text: "Proxy port is required",
    detail: "proxy port: it is missing or blank",
};
const INVALID_PORT: ApiError = ApiError::Invalid {
    text: "Invalid proxy port. Use a whole number from 1 to 65535",
    detail: "proxy port: a whole number from 1 to 65535 is needed",
};
const PROTOCOL_REQUIRED: ApiError = ApiError::Invalid {
    text: "Proxy protocol is required. Use 'http', 'https', or 'socks5'",
    detail: "proxy protocol: it is missing or blank",
};
const INVALID_PROTOCOL: ApiError = ApiError::Invalid {
    text: "Invalid proxy protocol. Use 'http', 'https', or 'socks5'",
    detail: "proxy protocol: http, https or socks5 is needed",
};
const INVALID_USERNAME: ApiError = ApiError::Invalid {
    text: "Invalid proxy username. Use 1 to 255 bytes without control characters, and no ':' with http or https",
    detail: "proxy username: it is missing beside a password, too long, or has a character that is not allowed",
};
const INVALID_PASSWORD: ApiError = ApiError::Invalid {
    text: "Invalid proxy password. Use at most 255 bytes without control characters",
    detail: "proxy password: it is too long, or has a control character",
};

#[cfg(test)]
mod tests {
    //! What is taken for a proxy, and which fault is named first.

    use super::*;

    const API_DOCS: &str = include_str!("../../../../../docs/api.md");

    fn read(body: &str) -> Result<Option<Proxy>, ApiError> {
        json::parse::<SentProxy>(body.as_bytes())?.read()
    }

    #[test]
    fn a_port_is_a_number_or_a_text_and_words_may_be_in_capitals() {
        for port in ["1080", "\"1080\"", "\" 1080 \""] {
            let body = format!(
                r#"{{"enabled":true,"host":" Proxy.Example.com ","port":{port},"protocol":"SOCKS5","username":"","x":1}}"#
            );
            let proxy = read(&body).unwrap().unwrap();
            assert_eq!(proxy.host().to_string(), "proxy.example.com");
            assert_eq!(
                (proxy.port().get(), proxy.protocol()),
                (1080, ProxyProtocol::Socks5)
            );
            assert!(proxy.credentials().is_none());
        }
    }

    #[test]
    fn what_is_not_enabled_is_no_proxy_whatever_it_says() {
        for body in [
            r#"{"enabled":false}"#,
            r#"{"enabled":false,"host":"a b","port":0}"#,
            r#"{"host":"proxy"}"#,
        ] {
            assert!(matches!(read(body), Ok(None)), "{body}");
        }
    }

    #[test]
    fn each_fault_has_its_text_and_the_first_field_comes_first() {
        let host = r#"{"enabled":true,"host":"proxy""#;
        let port = format!(r#"{host},"port":1"#);
        let all = format!(r#"{port},"protocol":"http""#);
        let long = "x".repeat(256);
        let rows = [
            (r#"{"enabled":true"#.to_owned(), HOST_REQUIRED),
            (r#"{"enabled":true,"host":" ","port":0"#.to_owned(), HOST_REQUIRED),
            (
                r#"{"enabled":true,"host":"http://proxy""#.to_owned(),
                INVALID_HOST,
            ),
            (host.to_owned(), PORT_REQUIRED),
            (format!(r#"{host},"port":"""#), PORT_REQUIRED),
            (format!(r#"{host},"port":0"#), INVALID_PORT),
            (format!(r#"{host},"port":65536"#), INVALID_PORT),
            (format!(r#"{host},"port":"http""#), INVALID_PORT),
            (port.clone(), PROTOCOL_REQUIRED),
            (format!(r#"{port},"protocol":"socks4""#), INVALID_PROTOCOL),
            (format!(r#"{all},"password":"secret""#), INVALID_USERNAME),
            (format!(r#"{all},"username":"a:b""#), INVALID_USERNAME),
            (format!(r#"{all},"username":"{long}""#), INVALID_USERNAME),
            (
                format!(r#"{all},"username":"a","password":"b\n""#),
                INVALID_PASSWORD,
            ),
        ];
        for (body, expected) in rows {
            let ApiError::Invalid { text, .. } = read(&format!("{body}}}")).unwrap_err() else {
                panic!("{body}");
            };
            let ApiError::Invalid { text: expected, .. } = expected else {
                unreachable!()
            };
            assert_eq!(text, expected, "{body}");
            assert!(API_DOCS.contains(text), "docs/api.md does not tell of {text:?}");
        }
        for port in ["1.5", "-1", "true", "[1]"] {
            let body = format!(r#"{host},"port":{port},"protocol":"http"}}"#);
            assert!(matches!(read(&body), Err(ApiError::InvalidBody(_))), "{body}");
        }
    }
}
