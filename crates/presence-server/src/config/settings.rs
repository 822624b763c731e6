//! Every setting of `serve`: flag, variable, default and meaning, in one table. `--help` is printed from it.

use clap::Arg;

/// A setting, as the operator sees it.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) flag: &'static str,
    pub(crate) variable: &'static str,
    /// What the value is, in the help.
    pub(crate) value: &'static str,
    /// `None` is unset, which then has a meaning of its own.
    pub(crate) default: Option<&'static str>,
    pub(crate) help: &'static str,
    /// Not shown in the help when it is set.
    pub(crate) secret: bool,
}

pub(crate) const LISTEN: Setting = Setting {
    flag: "listen",
    variable: "PRESENCE_LISTEN",
    value: "ADDRESS",
    default: Some("127.0.0.1:8080"),
    help: "Where to serve HTTP: an address or a name of this machine with a port, or a port of loopback alone. \
           Port 0 takes a free one; the line on stdout names it",
    secret: false,
};
pub(crate) const PROBE_LISTEN: Setting = Setting {
    flag: "probe-listen",
    variable: "PRESENCE_PROBE_LISTEN",
    value: "ADDRESS",
    default: None,
    help: "Where to serve /livez, /readyz, /health and /metrics alone, besides. Unset: nowhere",
    secret: false,
};
pub(crate) const DATA_DIR: Setting = Setting {
    flag: "data-dir",
    variable: "PRESENCE_DATA_DIR",
    value: "DIR",
    default: Some("data"),
    help: "Where accounts, instances and device keys are kept. Created for its owner only; one server at a time",
    secret: false,
};
pub(crate) const TOKEN_KEY: Setting = Setting {
    flag: "token-key",
    variable: "PRESENCE_TOKEN_KEY",
    value: "BASE64",
    default: None,
    help: "32 bytes that tokens and device keys are sealed with; the variable keeps them out of the process list. \
           Unset: the file token.key in the data directory, created on first use",
    secret: true,
};
pub(crate) const DATABASE_URL: Setting = Setting {
    flag: "database-url",
    variable: "PRESENCE_DATABASE_URL",
    value: "URL",
    default: None,
    help: "A PostgreSQL, postgres://…, that several nodes share: accounts, instances and device keys are kept there, and \
           no data directory is used. Needs --token-key, --advertise-url, --internal-listen and --cluster-secret-file. \
           Unset: one node, and its data directory",
    secret: true,
};
pub(crate) const DATABASE_LISTEN_URL: Setting = Setting {
    flag: "database-listen-url",
    variable: "PRESENCE_DATABASE_LISTEN_URL",
    value: "URL",
    default: None,
    help: "The same database past any pooler, to listen for notifications. Unset: at --database-url",
    secret: true,
};
pub(crate) const DATABASE_CONNECTIONS: Setting = Setting {
    flag: "database-connections",
    variable: "PRESENCE_DATABASE_CONNECTIONS",
    value: "N",
    default: Some("8"),
    help: "Most connections to the database, 2 to 1000, besides one that listens",
    secret: false,
};
pub(crate) const ADVERTISE_URL: Setting = Setting {
    flag: "advertise-url",
    variable: "PRESENCE_ADVERTISE_URL",
    value: "URL",
    default: None,
    help: "Where the other nodes reach this one's --internal-listen, such as http://10.0.0.5:7070",
    secret: false,
};
pub(crate) const INTERNAL_LISTEN: Setting = Setting {
    flag: "internal-listen",
    variable: "PRESENCE_INTERNAL_LISTEN",
    value: "ADDRESS",
    default: None,
    help: "Where to listen for the other nodes. Nobody else needs to reach it",
    secret: false,
};
pub(crate) const CLUSTER_SECRET_FILE: Setting = Setting {
    flag: "cluster-secret-file",
    variable: "PRESENCE_CLUSTER_SECRET_FILE",
    value: "FILE",
    default: None,
    help: "A file with what the nodes know each other by: 32 to 512 characters, the same on all of them",
    secret: false,
};
pub(crate) const EDGE_URL: Setting = Setting {
    flag: "edge-url",
    variable: "PRESENCE_EDGE_URL",
    value: "URL",
    default: None,
    help: "Connect to a sandbox at this ws:// or wss:// URL, together with --edge-key. Unset: the real WhatsApp",
    secret: false,
};
pub(crate) const EDGE_KEY: Setting = Setting {
    flag: "edge-key",
    variable: "PRESENCE_EDGE_KEY",
    value: "BASE64",
    default: None,
    help: "The sandbox's static public key, 32 bytes",
    secret: false,
};
pub(crate) const DEVICE_NAME: Setting = Setting {
    flag: "device-name",
    variable: "PRESENCE_DEVICE_NAME",
    value: "TEXT",
    default: Some("Presence"),
    help: "What a phone's list of linked devices shows, 1 to 50 characters. Takes effect when a phone is linked",
    secret: false,
};
pub(crate) const FORGET_PEERS_AFTER: Setting = Setting {
    flag: "forget-peers-after",
    variable: "PRESENCE_FORGET_PEERS_AFTER",
    value: "DAYS",
    default: Some("180"),
    help: "How long the keys of people are kept who write to an account, after they did so last",
    secret: false,
};
pub(crate) const RAISE_AVAILABILITY: Setting = Setting {
    flag: "raise-availability",
    variable: "PRESENCE_RAISE_AVAILABILITY",
    value: "on|off",
    default: Some("on"),
    help: "Whether an account is shown as online while it shows an indicator. Online, its phone stays silent",
    secret: false,
};
pub(crate) const END_ON_MESSAGE: Setting = Setting {
    flag: "end-on-message",
    variable: "PRESENCE_END_ON_MESSAGE",
    value: "on|off",
    default: Some("on"),
    help: "Whether a message that any device of the account sends in a chat ends the indicator there",
    secret: false,
};
pub(crate) const RESOLVE_NUMBERS: Setting = Setting {
    flag: "resolve-numbers",
    variable: "PRESENCE_RESOLVE_NUMBERS",
    value: "on|off",
    default: Some("on"),
    help: "Whether WhatsApp is asked which of two spellings a number of Brazil, Mexico or Argentina has",
    secret: false,
};
pub(crate) const TYPING_RATE: Setting = Setting {
    flag: "typing-rate",
    variable: "PRESENCE_TYPING_RATE",
    value: "N",
    default: Some("6"),
    help: "How many characters a person types in a second, 1 to 1000, for requests that give the message's length",
    secret: false,
};
pub(crate) const RECORDING_RATE: Setting = Setting {
    flag: "recording-rate",
    variable: "PRESENCE_RECORDING_RATE",
    value: "N",
    default: Some("15"),
    help: "How many characters a person speaks in a second, 1 to 1000, for the same requests",
    secret: false,
};
pub(crate) const PROXY_NETWORKS: Setting = Setting {
    flag: "proxy-networks",
    variable: "PRESENCE_PROXY_NETWORKS",
    value: "NETWORKS",
    default: None,
    help: "Networks or addresses, separated by commas, in which instances' proxies may be besides at public addresses. \
           Unset: none, so that no client can point the service at what only it reaches",
    secret: false,
};
pub(crate) const WEBHOOK_URL: Setting = Setting {
    flag: "webhook-url",
    variable: "PRESENCE_WEBHOOK_URL",
    value: "URL",
    default: None,
    help: "Where each change of any instance's state is posted to, signed. Unset: nowhere",
    secret: true,
};
pub(crate) const WEBHOOK_SECRET_FILE: Setting = Setting {
    flag: "webhook-secret-file",
    variable: "PRESENCE_WEBHOOK_SECRET_FILE",
    value: "FILE",
    default: None,
    help: "A file with the secret that these calls are signed with: whsec_ and 24 to 64 bytes in base64",
    secret: false,
};
pub(crate) const WEBHOOK_NETWORKS: Setting = Setting {
    flag: "webhook-networks",
    variable: "PRESENCE_WEBHOOK_NETWORKS",
    value: "NETWORKS",
    default: None,
    help: "Networks or addresses, separated by commas, in which webhooks of accounts may be besides at public addresses. \
           Unset: none",
    secret: false,
};
pub(crate) const MCP: Setting = Setting {
    flag: "mcp",
    variable: "PRESENCE_MCP",
    value: "on|off",
    default: Some("off"),
    help: "Whether /mcp offers the presences as tools to AI agents, with the tokens and limits of the API",
    secret: false,
};
pub(crate) const MAX_LOGINS: Setting = Setting {
    flag: "max-logins",
    variable: "PRESENCE_MAX_LOGINS",
    value: "N",
    default: Some("64"),
    help: "How many sessions log in at the same time, 1 to 10000; as many again because a client asked",
    secret: false,
};
pub(crate) const LOGIN_INTERVAL: Setting = Setting {
    flag: "login-interval",
    variable: "PRESENCE_LOGIN_INTERVAL",
    value: "MS",
    default: Some("1"),
    help: "The least time between two logins while WhatsApp answers, in milliseconds, 0 to 60000. After a 429 or \
           5xx they are 500 ms apart, and slowly faster again",
    secret: false,
};
pub(crate) const RATE_LIMIT: Setting = Setting {
    flag: "rate-limit",
    variable: "PRESENCE_RATE_LIMIT",
    value: "N",
    default: Some("100"),
    help: "Requests a minute by one token, but for new instances. 0 is no limit",
    secret: false,
};
pub(crate) const RATE_LIMIT_NEW: Setting = Setting {
    flag: "rate-limit-new",
    variable: "PRESENCE_RATE_LIMIT_NEW",
    value: "N",
    default: Some("20"),
    help: "Requests for a new instance a minute by one token. 0 is no limit",
    secret: false,
};
pub(crate) const RATE_LIMIT_FAILURES: Setting = Setting {
    flag: "rate-limit-failures",
    variable: "PRESENCE_RATE_LIMIT_FAILURES",
    value: "N",
    default: Some("60"),
    help: "Requests without a valid token a minute from one address. Then 429, and no token from there is tried \
           but those that were right in the last hour. 0 is no limit",
    secret: false,
};
pub(crate) const PUBLIC_URL: Setting = Setting {
    flag: "public-url",
    variable: "PRESENCE_PUBLIC_URL",
    value: "URL",
    default: None,
    help: "Where clients reach this service, such as https://presence.example.com, for the links that it gives out. \
           Unset: http:// and the Host of the request that asks for one",
    secret: false,
};
pub(crate) const TRUSTED_PROXIES: Setting = Setting {
    flag: "trusted-proxies",
    variable: "PRESENCE_TRUSTED_PROXIES",
    value: "CIDRS",
    default: None,
    help: "Networks of proxies, such as 10.0.0.0/8, separated by commas, whose Forwarded or X-Forwarded-For tells \
           the client's address. Unset: none",
    secret: false,
};
pub(crate) const CORS_ORIGINS: Setting = Setting {
    flag: "cors-origins",
    variable: "PRESENCE_CORS_ORIGINS",
    value: "ORIGINS",
    default: None,
    help: "Origins whose pages may call, such as https://example.com, separated by commas; * is every origin. \
           Unset: none",
    secret: false,
};
pub(crate) const METRICS: Setting = Setting {
    flag: "metrics",
    variable: "PRESENCE_METRICS",
    value: "on|off",
    default: Some("off"),
    help: "Whether GET /metrics answers counters for Prometheus beside the API. It needs no token",
    secret: false,
};
pub(crate) const COMPAT: Setting = Setting {
    flag: "compat",
    variable: "PRESENCE_COMPAT",
    value: "APIS",
    default: None,
    help: "Other gateways whose presence routes are answered too, for clients built for those: evolution, waha, or \
           both, separated by a comma. Unset: none",
    secret: false,
};
pub(crate) const DOCS: Setting = Setting {
    flag: "docs",
    variable: "PRESENCE_DOCS",
    value: "on|off",
    default: Some("on"),
    help: "Whether GET /docs answers a page about the API, on which calls can be tried",
    secret: false,
};
pub(crate) const CONSOLE: Setting = Setting {
    flag: "console",
    variable: "PRESENCE_CONSOLE",
    value: "on|off",
    default: None,
    help: "Whether GET /console answers a page for people, who sign in with a token. Unset: on when it listens on \
           loopback, else off",
    secret: false,
};
pub(crate) const MAX_CONNECTIONS: Setting = Setting {
    flag: "max-connections",
    variable: "PRESENCE_MAX_CONNECTIONS",
    value: "N",
    default: Some("1024"),
    help: "HTTP connections at the same time, 1 to 65536, and at most half of the file handles. For more, the \
           longest idle one is closed",
    secret: false,
};
pub(crate) const MAX_CONNECTIONS_PER_CLIENT: Setting = Setting {
    flag: "max-connections-per-client",
    variable: "PRESENCE_MAX_CONNECTIONS_PER_CLIENT",
    value: "N",
    default: Some("256"),
    help: "HTTP connections of one address at the same time, 0 to 65536; not of loopback and trusted proxies. \
           0 is no limit",
    secret: false,
};
pub(crate) const HEAD_TIMEOUT: Setting = Setting {
    flag: "head-timeout",
    variable: "PRESENCE_HEAD_TIMEOUT",
    value: "S",
    default: Some("10"),
    help: "How long a new connection may wait for the head of its first request, in seconds, 1 to 3600",
    secret: false,
};
pub(crate) const IDLE_TIMEOUT: Setting = Setting {
    flag: "idle-timeout",
    variable: "PRESENCE_IDLE_TIMEOUT",
    value: "S",
    default: Some("60"),
    help: "How long a connection may wait for the head of its next request, in seconds, 1 to 3600",
    secret: false,
};
pub(crate) const BODY_TIMEOUT: Setting = Setting {
    flag: "body-timeout",
    variable: "PRESENCE_BODY_TIMEOUT",
    value: "S",
    default: Some("10"),
    help: "How long a request's body may take to arrive, in seconds, 1 to 300",
    secret: false,
};
pub(crate) const STOP_DELAY: Setting = Setting {
    flag: "stop-delay",
    variable: "PRESENCE_STOP_DELAY",
    value: "S",
    default: Some("0"),
    help: "How long to go on after SIGTERM, SIGINT or SIGHUP while /readyz says \"stopping\", so that a load balancer \
           finds another server first. In seconds, 0 to 300",
    secret: false,
};
pub(crate) const STOP_GRACE: Setting = Setting {
    flag: "stop-grace",
    variable: "PRESENCE_STOP_GRACE",
    value: "S",
    default: Some("7"),
    help: "How long the end may take: on SIGTERM, SIGINT or SIGHUP, after --stop-delay, requests finish, indicators \
           are paused and sessions closed, all at the same time. In seconds, 0 to 300",
    secret: false,
};
pub(crate) const LOG: Setting = Setting {
    flag: "log",
    variable: "PRESENCE_LOG",
    value: "FILTER",
    default: Some("info"),
    help: "What to log to stderr: error, warn, info, debug, trace, or target=level pairs separated by commas. \
           Naming a target of the WhatsApp client logs phone numbers and codes",
    secret: false,
};
pub(crate) const LOG_FORMAT: Setting = Setting {
    flag: "log-format",
    variable: "PRESENCE_LOG_FORMAT",
    value: "text|json",
    default: Some("text"),
    help: "How to log",
    secret: false,
};

/// In the order of the help.
pub(crate) const ALL: [&Setting; 45] = [
    &LISTEN,
    &PROBE_LISTEN,
    &DATA_DIR,
    &TOKEN_KEY,
    &DATABASE_URL,
    &DATABASE_LISTEN_URL,
    &DATABASE_CONNECTIONS,
    &ADVERTISE_URL,
    &INTERNAL_LISTEN,
    &CLUSTER_SECRET_FILE,
    &EDGE_URL,
    &EDGE_KEY,
    &DEVICE_NAME,
    &FORGET_PEERS_AFTER,
    &RAISE_AVAILABILITY,
    &END_ON_MESSAGE,
    &RESOLVE_NUMBERS,
    &TYPING_RATE,
    &RECORDING_RATE,
    &PROXY_NETWORKS,
    &WEBHOOK_URL,
    &WEBHOOK_SECRET_FILE,
    &WEBHOOK_NETWORKS,
    &MAX_LOGINS,
    &LOGIN_INTERVAL,
    &RATE_LIMIT,
    &RATE_LIMIT_NEW,
    &RATE_LIMIT_FAILURES,
    &PUBLIC_URL,
    &TRUSTED_PROXIES,
    &CORS_ORIGINS,
    &METRICS,
    &MCP,
    &COMPAT,
    &DOCS,
    &CONSOLE,
    &MAX_CONNECTIONS,
    &MAX_CONNECTIONS_PER_CLIENT,
    &HEAD_TIMEOUT,
    &IDLE_TIMEOUT,
    &BODY_TIMEOUT,
    &STOP_DELAY,
    &STOP_GRACE,
    &LOG,
    &LOG_FORMAT,
];

impl Setting {
    /// The flag. Its value is a text here: all mistakes are reported together, by
    /// [`Config::from_lookup`](super::Config::from_lookup).
    pub(crate) fn arg(&self) -> Arg {
        let arg = Arg::new(self.variable)
            .long(self.flag)
            .env(self.variable)
            .value_name(self.value)
            .help(self.help)
            .hide_env_values(self.secret);
        match self.default {
            Some(default) => arg.default_value(default),
            None => arg,
        }
    }
}
