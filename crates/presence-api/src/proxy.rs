//! Proxies between the registry, which keeps them sealed, and the WhatsApp client, which connects through them.

use std::num::NonZeroU16;
use std::sync::Arc;

use presence_core::InstanceId;
use presence_store::{Instance, Registry, SecretText, StoreError};
use presence_wa::{InvalidProxy, Proxies, Proxy, ProxyCredentials, UnreadableProxy};
use serde::{Deserialize, Serialize};

/// The proxies that a registry keeps, for [`WhatsApp::with_proxies`](presence_wa::WhatsApp::with_proxies).
pub struct RegistryProxies(Arc<dyn Registry>);

impl RegistryProxies {
    /// Those of `registry`.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self(registry)
    }
}

impl Proxies for RegistryProxies {
    fn proxy(&self, instance: InstanceId) -> Result<Option<Proxy>, UnreadableProxy> {
        // One that another process has just deleted may have had a proxy: it is not connected without.
        let instance = self.0.instance_by_id(instance);
        let instance = instance.ok_or_else(|| UnreadableProxy("the instance was deleted".into()))?;
        kept(&*self.0, &instance).map_err(|error| UnreadableProxy(error.into()))
    }
}

/// The proxy that `registry` keeps for `instance`.
pub(crate) fn kept(registry: &dyn Registry, instance: &Instance) -> Result<Option<Proxy>, KeptProxyError> {
    let Some(secret) = registry.instance_proxy(instance)? else {
        return Ok(None);
    };
    let kept: KeptProxy = serde_json::from_str(secret.expose()).map_err(|_| KeptProxyError::Unknown)?;
    Ok(Some(kept.try_into()?))
}

/// `proxy` as the registry keeps it.
pub(crate) fn secret(proxy: &Proxy) -> SecretText {
    let kept = KeptProxy {
        protocol: proxy.protocol().as_str().to_owned(),
        host: proxy.host().to_string(),
        port: proxy.port(),
        credentials: proxy.credentials().map(|credentials| KeptCredentials {
            username: credentials.username().to_owned(),
            password: credentials.expose_password().to_owned(),
        }),
    };
    let text = serde_json::to_string(&kept).expect("texts and a number are JSON");
    SecretText::new(text)
}

/// What is kept is no proxy. Nothing of it is repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptProxyError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not of this service's form.
    #[error("the proxy that is kept is of an unknown form")]
    Unknown,
    /// It is of the form, and yet no proxy.
    #[error("the proxy that is kept is none")]
    Invalid(#[from] InvalidProxy),
}

/// The form in which proxies are kept. A field that is added must be optional.
#[derive(Serialize, Deserialize)]
struct KeptProxy {
    protocol: String,
    host: String,
    port: NonZeroU16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials: Option<KeptCredentials>,
}

#[derive(Serialize, Deserialize)]
struct KeptCredentials {
    username: String,
    password: String,
}

impl TryFrom<KeptProxy> for Proxy {
    type Error = InvalidProxy;

    fn try_from(kept: KeptProxy) -> Result<Self, InvalidProxy> {
        let credentials = kept
            .credentials
            .map(|kept| ProxyCredentials::new(kept.username, kept.password))
            .transpose()?;
        Self::new(kept.protocol.parse()?, kept.host.parse()?, kept.port, credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Proxy> {
        let kept: KeptProxy = serde_json::from_str(text).ok()?;
        kept.try_into().ok()
    }

    #[test]
    fn what_is_kept_is_read_again() {
        for (host, credentials) in [
            ("proxy.example.com", None),
            (
                "2001:db8::7",
                ProxyCredentials::new("a\"b".into(), "c:\\".into()).ok(),
            ),
            (
                "203.0.113.7",
                ProxyCredentials::new("user".into(), String::new()).ok(),
            ),
        ] {
            for protocol in ["http", "https", "socks5"] {
                let proxy = Proxy::new(
                    protocol.parse().unwrap(),
                    host.parse().unwrap(),
                    NonZeroU16::new(1080).unwrap(),
                    credentials.clone(),
                );
                let proxy = proxy.unwrap();
                assert_eq!(read(secret(&proxy).expose()), Some(proxy));
            }
        }
    }

    #[test]
    fn the_form_in_which_proxies_are_kept_stays() {
        let text =
            r#"{"protocol":"socks5","host":"p","port":1,"credentials":{"username":"u","password":"w"}}"#;
        assert_eq!(secret(&read(text).unwrap()).expose(), text);
        for damaged in [
            "",
            "{}",
            &text.replace("socks5", "socks4"),
            &text.replace(":1,", ":0,"),
        ] {
            assert!(read(damaged).is_none(), "{damaged}");
        }
    }
}
