//! What the operator may say of how HTTP is served. Where it is read from is the server's concern.

use std::time::Duration;

use hyper::header::HeaderValue;
use ipnet::IpNet;
use presence_core::Pace;
use url::Url;

use crate::compat::CompatApi;
use crate::webhook::WebhookSettings;

/// How HTTP is served, whatever carries it.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Requests a minute.
    pub limits: Limits,
    /// Origins whose pages may call, as browsers send them; `*` is every origin.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether `GET /metrics` answers beside the API. On a listener for probes it always does.
    pub metrics: bool,
    /// Whether `POST /mcp` answers AI agents. Default: no.
    pub mcp: bool,
    /// Other gateways whose routes are answered too. Default: none.
    pub compat: Vec<CompatApi>,
    /// Whether `GET /docs` answers the API for people. Default: yes; it tells what `GET /openapi.json` tells.
    pub docs: bool,
    /// Whether `GET /console` answers the page for people. Default: no.
    pub console: bool,
    /// Where clients reach the service, for the links that it gives out. Default: where the client that asks did.
    pub public_url: Option<Url>,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` tell the client. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections at the same time, at least 1. Default 1024.
    pub max_connections: usize,
    /// Connections of one client address (an IPv6 address stands for its /64) at the same time; 0 is no limit.
    /// Not counted for loopback and for trusted proxies. Default 256.
    pub max_connections_per_client: usize,
    /// The longest a new connection waits for the head of its first request. Default 10 s.
    pub head_timeout: Duration,
    /// The longest a connection waits for the head of its next request. Default 60 s.
    pub idle_timeout: Duration,
    /// The longest a request's body may take to arrive. Default 10 s.
    pub body_timeout: Duration,
    /// The longest `connect` waits for WhatsApp. Contract: 60 s.
    pub connect_hold: Duration,
    /// How fast a person types and speaks, for requests that say how long their message will be.
    pub pace: Pace,
    /// Who is told how instances are. Default: nobody but the accounts that ask for it.
    pub webhooks: WebhookSettings,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            cors_origins: Vec::new(),
            metrics: false,
            mcp: false,
            compat: Vec::new(),
            docs: true,
            console: false,
            public_url: None,
            trusted_proxies: Vec::new(),
            max_connections: 1024,
            max_connections_per_client: 256,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(10),
            connect_hold: Duration::from_secs(60),
            pace: Pace::default(),
            webhooks: WebhookSettings::default(),
        }
    }
}

/// Requests a minute; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By one token, of any route but `POST /api/instance/new`. Contract: 100.
    pub requests: u32,
    /// By one token, of `POST /api/instance/new`. Contract: 20.
    pub new_instances: u32,
    /// Without a valid token, by one client address (an IPv6 address stands for its /64). Contract: 60.
    pub failures: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 100,
            new_instances: 20,
            failures: 60,
        }
    }
}
