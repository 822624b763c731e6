//! The database that nodes share, and this node among them.

use std::fs;

use presence_api::ClusterSecret;
use presence_store::{PostgresOptions, TokenKey};
use url::{Host, Url};

use super::settings::Setting;
use super::{Listen, Reader, parse, settings};

/// How this process is one of several.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// The database that all share.
    pub database: PostgresOptions,
    /// What tokens and device keys there are sealed with.
    pub token_key: TokenKey,
    /// Where the others reach this node.
    pub advertise_url: Url,
    /// Where it listens for them.
    pub listen: Listen,
    /// What they know each other by.
    pub secret: ClusterSecret,
}

/// Reads how this process is one of several; `None`: it is alone.
pub(super) fn read<F: Fn(&str) -> Option<String>>(
    from: &mut Reader<F>,
    token_key: Option<&TokenKey>,
) -> Option<ClusterConfig> {
    let database = database(from);
    let advertise_url = from.read_optional(&settings::ADVERTISE_URL, node_url);
    let listen = from.read_optional(&settings::INTERNAL_LISTEN, parse::<Listen>);
    let secret = from.read_optional(&settings::CLUSTER_SECRET_FILE, secret_in);
    const NEEDED: [&Setting; 4] = [
        &settings::TOKEN_KEY,
        &settings::ADVERTISE_URL,
        &settings::INTERNAL_LISTEN,
        &settings::CLUSTER_SECRET_FILE,
    ];
    let shared = from.is_set(&settings::DATABASE_URL);
    for setting in NEEDED {
        let is_set = from.is_set(setting);
        if shared && !is_set {
            from.mistake(setting, "it is needed together with --database-url");
        }
        if !shared && is_set && setting.variable != settings::TOKEN_KEY.variable {
            from.mistake(setting, "it means nothing without --database-url");
        }
    }
    Some(ClusterConfig {
        database: database?,
        token_key: token_key?.clone(),
        advertise_url: advertise_url?,
        listen: listen?,
        secret: secret?,
    })
}

/// The database alone, for commands that are no node.
pub(super) fn database<F: Fn(&str) -> Option<String>>(from: &mut Reader<F>) -> Option<PostgresOptions> {
    let url = from.read_optional(&settings::DATABASE_URL, database_url);
    let listen_url = from.read_optional(&settings::DATABASE_LISTEN_URL, database_url);
    let connections = from.number(&settings::DATABASE_CONNECTIONS, 2, 1000);
    Some(PostgresOptions {
        url: url?,
        listen_url,
        connections,
    })
}

/// The complaint repeats nothing of it: it may hold a password.
pub(crate) fn database_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        .map(|_| text.to_owned())
        .ok_or_else(|| "it is no URL such as postgres://user:password@host/database".to_owned())
}

fn node_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    let url = url
        .filter(|url| url.scheme() == "http" && url.has_host() && url.path() == "/" && url.query().is_none())
        .ok_or_else(|| format!("{text:?} is no URL such as http://10.0.0.5:7070"))?;
    // It is what one listens on. Whoever connects to it reaches itself.
    let is_unspecified = match url.host() {
        Some(Host::Ipv4(address)) => address.is_unspecified(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_unspecified(),
        Some(Host::Domain(_)) | None => false,
    };
    if is_unspecified {
        return Err(format!(
            "at {text:?} no other node reaches this one: give an address of this machine, such as http://10.0.0.5:7070"
        ));
    }
    Ok(url)
}

fn secret_in(path: &str) -> Result<ClusterSecret, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    ClusterSecret::new(&text).map_err(|problem| format!("{path}: {problem}"))
}
