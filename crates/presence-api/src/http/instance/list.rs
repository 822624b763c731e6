//! `GET /api/instance/list`.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::{Response, StatusCode};
use presence_store::{Caller, Instance};
use presence_wa::{InstanceState, InstanceStatus};
use serde::Serialize;
use url::form_urlencoded;

use super::{store_failed, timestamp};
use crate::app::{App, device};
use crate::error::ApiError;
use crate::json::{self, Body};

#[derive(Serialize)]
struct Listed {
    instances: Vec<Item>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    /// For the account's owner only.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    created_at: String,
    connection: Connection,
    profile: Profile,
    settings: Settings,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    state: &'static str,
    number_jid: Option<String>,
    presence_status: &'static str,
    /// The state in words, with its reason. For people; programs read `state`.
    display_status: String,
}

#[derive(Serialize)]
struct Profile {
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    keep_online_status: bool,
}

/// Lists what the caller may see: an account its instances, oldest first, or those it names; an instance
/// itself.
pub(in crate::http) fn list(
    app: &App,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Response<Body>, ApiError> {
    let instances = match caller {
        Caller::Instance(own) => vec![Arc::clone(own)],
        Caller::Account(account) => select(app.registry.instances(*account), &Filter::of(query))?,
    };
    let items = instances
        .into_iter()
        .map(|instance| item(app, &instance, matches!(caller, Caller::Account(_))))
        .collect::<Result<Vec<_>, _>>()?;
    let message = match items.len() {
        1 => "1 Instance found".to_owned(),
        count => format!("{count} Instances found"),
    };
    Ok(json::succeed(
        StatusCode::OK,
        &message,
        Listed { instances: items },
    ))
}

/// The names asked for; none is all.
struct Filter(HashSet<String>);

impl Filter {
    fn of(query: Option<&str>) -> Self {
        let names = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .filter(|(key, _)| key == "instanceName")
            .flat_map(|(_, value)| {
                value
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .collect::<Vec<_>>()
            });
        Self(names.filter(|name| !name.is_empty()).collect())
    }
}

fn select(mut instances: Vec<Arc<Instance>>, filter: &Filter) -> Result<Vec<Arc<Instance>>, ApiError> {
    if filter.0.is_empty() {
        return Ok(instances);
    }
    instances.retain(|instance| filter.0.contains(instance.name.as_str()));
    if instances.is_empty() && filter.0.len() == 1 {
        Err(ApiError::NoSuchInstance)
    } else {
        Ok(instances)
    }
}

fn item(app: &App, instance: &Instance, with_token: bool) -> Result<Item, ApiError> {
    let token = match with_token {
        true => Some(
            app.registry
                .instance_token(instance)
                .map_err(store_failed("unsealing a token"))?,
        ),
        false => None,
    };
    let status = app.fleet.status(device(instance));
    Ok(Item {
        name: instance.name.to_string(),
        token: token.map(|token| token.expose().to_owned()),
        created_at: timestamp(instance.created_at),
        connection: Connection::of(status.as_ref()),
        profile: Profile {
            name: status.and_then(|status| status.push_name).unwrap_or_default(),
        },
        settings: Settings {
            keep_online_status: instance.keep_online,
        },
    })
}

impl Connection {
    /// An instance that the fleet does not know yet, or no longer, is not connected.
    fn of(status: Option<&InstanceStatus>) -> Self {
        let state = status.map_or(InstanceState::Disconnected, |status| status.state);
        Self {
            state: state.as_str(),
            number_jid: status.and_then(|status| status.jid.clone()),
            presence_status: match status {
                Some(status) if status.available => "available",
                _ => "unavailable",
            },
            display_status: match status.and_then(|status| status.reason) {
                Some(reason) => format!("{state}: {reason}"),
                None => state.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    //! Which names a query asks for.

    use super::*;

    #[test]
    fn a_query_names_instances_by_commas_and_an_empty_one_names_none() {
        let table: [(Option<&str>, &[&str]); 8] = [
            (None, &[]),
            (Some(""), &[]),
            (Some("instanceName="), &[]),
            (Some("other=a"), &[]),
            (Some("instanceName=a"), &["a"]),
            (Some("instanceName=a,b%2Cc,,+d+"), &["a", "b", "c", "d"]),
            (Some("instanceName=a&instanceName=b"), &["a", "b"]),
            (Some("x=1&instanceName=a,a"), &["a"]),
        ];
        for (query, names) in table {
            let expected: HashSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(Filter::of(query).0, expected, "{query:?}");
        }
    }
}
