//! What the service is told at its start, checked: every mistake is found, not only the first.

pub(crate) mod cluster;
mod listen;
pub(crate) mod settings;
pub(crate) mod unknown;
mod webhook;

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use presence_api::{CompatApi, HttpSettings, IpNet, Limits};
use presence_core::Pace;
use presence_store::TokenKey;
use presence_wa::{Edge, FleetSettings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use self::cluster::ClusterConfig;
pub use self::listen::{InvalidListen, Listen};
use self::settings::Setting;

/// The configuration of `presence-server serve`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where to listen for probes besides; `None`: nowhere.
    pub probe_listen: Option<Listen>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// What tokens and device keys are sealed with; `None`: the key file in the data directory.
    pub token_key: Option<TokenKey>,
    /// How it is one node of several, which keep everything in one database; `None`: it is alone, and everything is in
    /// the data directory.
    pub cluster: Option<ClusterConfig>,
    /// Which WhatsApp.
    pub edge: Edge,
    /// What phones call this device.
    pub device_name: String,
    /// How long people who are never met are remembered.
    pub forget_peers_after: Duration,
    /// Networks in which proxies of instances may be, besides at public addresses.
    pub proxy_networks: Vec<IpNet>,
    /// How sessions behave. Its timing is the contract's and no setting; tests shorten it.
    pub fleet: FleetSettings,
    /// How HTTP is served.
    pub http: HttpSettings,
    /// How long it goes on when it is asked to stop, while it says that it will.
    pub stop_delay: Duration,
    /// How long requests may take to finish at the end, and at the same time sessions to close.
    pub stop_grace: Duration,
    /// What to log, in `EnvFilter`'s syntax.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
}

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A configuration with mistakes: all of them, one a line.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the settings through `lookup`, which is given a variable's name (`PRESENCE_LISTEN`). One that is
    /// missing or blank has its default.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use presence_server::Config;
    ///
    /// let settings = HashMap::from([("PRESENCE_LISTEN", "127.0.0.1:0"), ("PRESENCE_RATE_LIMIT", "0")]);
    /// let config = Config::from_lookup(|name| settings.get(name).map(|value| (*value).to_owned()))?;
    /// assert_eq!(config.http.limits.requests, 0);
    /// # Ok::<(), presence_server::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut from = Reader {
            lookup,
            mistakes: Vec::new(),
        };
        let listen = from.read(&settings::LISTEN, parse::<Listen>);
        let console_unset = listen.is_loopback();
        let token_key = from.read_optional(&settings::TOKEN_KEY, |key| {
            TokenKey::from_base64(key).map_err(|error| error.to_string())
        });
        let config = Self {
            listen,
            probe_listen: from.read_optional(&settings::PROBE_LISTEN, parse::<Listen>),
            data_dir: from.read(&settings::DATA_DIR, parse::<PathBuf>),
            cluster: cluster::read(&mut from, token_key.as_ref()),
            token_key,
            edge: from.edge(),
            device_name: from.read(&settings::DEVICE_NAME, |name| match name.trim().chars().count() {
                _ if name.contains(char::is_control) => Err("it has control characters".to_owned()),
                1..=50 => Ok(name.trim().to_owned()),
                count => Err(format!("it has {count} characters, not 1 to 50")),
            }),
            forget_peers_after: Duration::from_secs(
                from.number(&settings::FORGET_PEERS_AFTER, 1, 36_500) * SECONDS_A_DAY,
            ),
            proxy_networks: from
                .read_optional(&settings::PROXY_NETWORKS, networks)
                .unwrap_or_default(),
            fleet: FleetSettings {
                raise_availability: from.read(&settings::RAISE_AVAILABILITY, on_or_off),
                end_on_message: from.read(&settings::END_ON_MESSAGE, on_or_off),
                resolve_numbers: from.read(&settings::RESOLVE_NUMBERS, on_or_off),
                max_concurrent_logins: from.number(&settings::MAX_LOGINS, 1, 10_000),
                login_interval: Duration::from_millis(from.number(&settings::LOGIN_INTERVAL, 0, 60_000)),
                ..FleetSettings::default()
            },
            http: HttpSettings {
                limits: Limits {
                    requests: from.number(&settings::RATE_LIMIT, 0, u32::MAX),
                    new_instances: from.number(&settings::RATE_LIMIT_NEW, 0, u32::MAX),
                    failures: from.number(&settings::RATE_LIMIT_FAILURES, 0, u32::MAX),
                },
                cors_origins: from
                    .read_optional(&settings::CORS_ORIGINS, origins)
                    .unwrap_or_default(),
                metrics: from.read(&settings::METRICS, on_or_off),
                mcp: from.read(&settings::MCP, on_or_off),
                compat: from
                    .read_optional(&settings::COMPAT, compat_apis)
                    .unwrap_or_default(),
                docs: from.read(&settings::DOCS, on_or_off),
                console: from
                    .read_optional(&settings::CONSOLE, on_or_off)
                    .unwrap_or(console_unset),
                public_url: from.read_optional(&settings::PUBLIC_URL, public_url),
                trusted_proxies: from
                    .read_optional(&settings::TRUSTED_PROXIES, networks)
                    .unwrap_or_default(),
                max_connections: from.number(&settings::MAX_CONNECTIONS, 1, 65_536),
                max_connections_per_client: from.number(&settings::MAX_CONNECTIONS_PER_CLIENT, 0, 65_536),
                head_timeout: Duration::from_secs(from.number(&settings::HEAD_TIMEOUT, 1, 3600)),
                idle_timeout: Duration::from_secs(from.number(&settings::IDLE_TIMEOUT, 1, 3600)),
                body_timeout: Duration::from_secs(from.number(&settings::BODY_TIMEOUT, 1, 300)),
                pace: Pace {
                    typing: from.number(&settings::TYPING_RATE, NonZeroU16::MIN, MAX_RATE),
                    recording: from.number(&settings::RECORDING_RATE, NonZeroU16::MIN, MAX_RATE),
                },
                webhooks: webhook::read(&mut from),
                ..HttpSettings::default()
            },
            stop_delay: Duration::from_secs(from.number(&settings::STOP_DELAY, 0, 300)),
            stop_grace: Duration::from_secs(from.number(&settings::STOP_GRACE, 0, 300)),
            log: from.read(&settings::LOG, log_filter),
            log_format: from.read(&settings::LOG_FORMAT, |format| match format {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("it is text or json".to_owned()),
            }),
        };
        if from.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError {
                mistakes: from.mistakes,
            })
        }
    }
}

/// Characters a second, of whoever types fastest.
const MAX_RATE: NonZeroU16 = NonZeroU16::new(1000).expect("it is not zero");

/// Reads settings and collects what is wrong with them.
struct Reader<F> {
    lookup: F,
    mistakes: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    /// The value of a setting that has a default. After a mistake it is the default, and nobody gets to see it.
    fn read<T>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Result<T, String>) -> T {
        self.read_optional(setting, &parse).unwrap_or_else(|| {
            let default = setting.default.expect("only settings with a default are read so");
            parse(default).expect("the defaults are right")
        })
    }

    /// The value of a setting that may be unset.
    fn read_optional<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = (self.lookup)(setting.variable).filter(|value| !value.trim().is_empty())?;
        match parse(value.trim()) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistake(setting, &problem);
                None
            }
        }
    }

    fn number<T: FromStr + PartialOrd + Display + Copy>(
        &mut self,
        setting: &Setting,
        least: T,
        most: T,
    ) -> T {
        self.read(setting, |text| match text.parse() {
            Ok(number) if least <= number && number <= most => Ok(number),
            _ => Err(format!("it is a whole number from {least} to {most}")),
        })
    }

    /// A sandbox needs both of its settings, so that a forgotten one never means the real WhatsApp.
    fn edge(&mut self) -> Edge {
        let url = self.read_optional(&settings::EDGE_URL, sandbox_url);
        let key = self.read_optional(&settings::EDGE_KEY, |text| {
            let bytes = STANDARD.decode(text).map_err(|_| "it is not base64".to_owned())?;
            <[u8; 32]>::try_from(bytes).map_err(|bytes| format!("it has {} bytes, not 32", bytes.len()))
        });
        match (url, key) {
            (Some(url), Some(key)) => Edge::Sandbox { url, key },
            (url, key) => {
                let [url_set, key_set] =
                    [&settings::EDGE_URL, &settings::EDGE_KEY].map(|setting| self.is_set(setting));
                if url.is_none() && !url_set && key_set {
                    self.mistake(&settings::EDGE_URL, "it is needed together with --edge-key");
                }
                if key.is_none() && !key_set && url_set {
                    self.mistake(&settings::EDGE_KEY, "it is needed together with --edge-url");
                }
                Edge::WhatsApp
            }
        }
    }

    fn is_set(&self, setting: &Setting) -> bool {
        (self.lookup)(setting.variable).is_some_and(|value| !value.trim().is_empty())
    }

    fn mistake(&mut self, setting: &Setting, problem: &str) {
        self.mistakes
            .push(format!("--{} ({}): {problem}", setting.flag, setting.variable));
    }
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err("it is on or off".to_owned()),
    }
}

/// In the library's syntax, except that a word alone is a level: it takes any other one for a target, and logs
/// nothing else.
fn log_filter(text: &str) -> Result<String, String> {
    let words = text.split(',').map(str::trim);
    for word in words.filter(|word| !word.is_empty() && !word.contains(['=', '['])) {
        word.parse::<LevelFilter>().map_err(|_| {
            format!(
                "{word:?} is no level: it is error, warn, info, debug, trace or off, or a target with one, such \
                 as hyper=debug"
            )
        })?;
    }
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// Where clients reach the service; a path that a proxy puts in front is a part of it.
fn public_url(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.filter(|url| url.query().is_none() && url.fragment().is_none())
        .ok_or_else(|| format!("{text:?} is no URL such as https://presence.example.com"))
}

fn sandbox_url(text: &str) -> Result<Uri, String> {
    let url: Uri = parse(text)?;
    match (url.scheme_str(), url.host()) {
        (Some("ws" | "wss"), Some(_)) => Ok(url),
        _ => Err("it is a ws:// or wss:// URL".to_owned()),
    }
}

/// Other gateways' APIs, separated by commas.
fn compat_apis(text: &str) -> Result<Vec<CompatApi>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            name.parse::<CompatApi>()
                .map_err(|_| format!("{name:?} is none of evolution and waha"))
        })
        .collect()
}

/// Networks, or single addresses, separated by commas.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    texts
        .map(|text| match text.parse::<IpNet>() {
            Ok(network) => Ok(network),
            Err(_) => text
                .parse::<IpAddr>()
                .map(IpNet::from)
                .map_err(|_| format!("{text:?} is no network such as 10.0.0.0/8, and no address")),
        })
        .collect()
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|origin| !origin.is_empty())
        .map(origin)
        .collect()
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("{text:?} is no origin such as https://example.com, without a path");
    if text != "*" {
        let url = url::Url::parse(text).map_err(|_| wrong())?;
        // Browsers send an origin in exactly one spelling; any other would silently never match.
        if url.origin().ascii_serialization() != text {
            return Err(wrong());
        }
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests;
