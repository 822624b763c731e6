//! `GET /api/instance/list`.

use std::collections::HashSet;

use hyper::{Response, StatusCode};
use presence_store::Caller;
use presence_wa::{InstanceState, InstanceStatus};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use super::reply::timestamp;
use crate::clock::Time;
use crate::display_status::display_status;
use crate::error::ApiError;
use crate::instances::{Instances, Listed};
use crate::json::{self, Body};
use crate::schema;

/// What is said of a token that the service cannot open, instead of hiding every other instance.
const TOKEN_ERROR: &str = "The token cannot be opened with the key of this service";

/// Instances, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = InstanceList)]
pub(in crate::http) struct List {
    instances: Vec<Item>,
}

/// An instance.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Instance)]
struct Item {
    name: String,
    /// To account tokens only; `null` when it cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    token: Option<Option<String>>,
    /// Why `token` is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_error: Option<&'static str>,
    #[schema(format = DateTime)]
    created_at: String,
    connection: Connection,
    profile: Profile,
    settings: Settings,
    /// In a cluster: the node that has the instance; `null` while none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    node: Option<Option<String>>,
    /// The node does not answer: the rest is what it said last, if anything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    node_silent: bool,
}

/// How an instance is connected to WhatsApp.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Connection {
    /// `connected`: a presence sent now would be written.
    #[schema(schema_with = schema::state)]
    state: &'static str,
    /// The JID of the account, while a phone is linked.
    #[schema(required = true)]
    number_jid: Option<String>,
    /// Whether WhatsApp takes the account for online because of this session.
    #[schema(schema_with = schema::availability)]
    presence_status: &'static str,
    /// The state in words, with its reason. For people; programs read `state`.
    display_status: String,
    /// Since when it is in that state, as far as this run of the service knows.
    #[schema(required = true, format = DateTime)]
    since: Option<String>,
}

/// The account of the linked phone.
#[derive(Serialize, ToSchema)]
struct Profile {
    /// Empty until WhatsApp told it.
    name: String,
}

/// The setting that has an effect.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OnlineSettings)]
struct Settings {
    keep_online_status: bool,
}

/// Lists what the caller may see: an account its instances, oldest first, or those it names; an instance
/// itself.
pub(in crate::http) async fn list(
    instances: &Instances,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Response<Body>, ApiError> {
    let filter = match caller {
        Caller::Account(_) => Filter::of(query),
        Caller::Instance(_) => Filter::default(),
    };
    if let Some(name) = filter.only() {
        instances.find_soon(caller, name).await?;
    }
    let mut listed = instances.list(caller).await;
    filter.apply(&mut listed)?;
    let items: Vec<_> = listed.into_iter().map(Item::from).collect();
    let message = match items.len() {
        1 => "1 Instance found".to_owned(),
        count => format!("{count} Instances found"),
    };
    Ok(json::succeed(StatusCode::OK, &message, List { instances: items }))
}

/// The names in `?instanceName=a,b`; none is all.
pub(in crate::http) fn names_in(query: Option<&str>) -> HashSet<String> {
    let names = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(key, _)| key == "instanceName")
        .flat_map(|(_, value)| {
            value
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect::<Vec<_>>()
        });
    names.filter(|name| !name.is_empty()).collect()
}

/// The names asked for; none is all.
#[derive(Default)]
struct Filter(HashSet<String>);

impl Filter {
    fn of(query: Option<&str>) -> Self {
        Self(names_in(query))
    }

    /// The name, when it is one.
    fn only(&self) -> Option<&str> {
        let mut names = self.0.iter();
        names.next().filter(|_| names.len() == 0).map(String::as_str)
    }

    /// Keeps those that were asked for. One name that is absent is an error; of several, absent ones are
    /// dropped.
    fn apply(&self, listed: &mut Vec<Listed>) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        listed.retain(|item| self.0.contains(item.instance.name.as_str()));
        if listed.is_empty() && self.0.len() == 1 {
            return Err(ApiError::NoSuchInstance);
        }
        Ok(())
    }
}

impl From<Listed> for Item {
    fn from(listed: Listed) -> Self {
        let Listed {
            instance,
            token,
            status,
            node,
        } = listed;
        let (token, token_error) = match token {
            None => (None, None),
            Some(Ok(token)) => (Some(Some(token.expose().to_owned())), None),
            Some(Err(error)) => {
                // The other instances must not be hidden by it.
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, instance.id = %instance.id, "a token cannot be opened");
                (Some(None), Some(TOKEN_ERROR))
            }
        };
        Self {
            name: instance.name.to_string(),
            token,
            token_error,
            created_at: timestamp(instance.created_at),
            connection: Connection::of(status.as_ref()),
            profile: Profile {
                name: status.and_then(|status| status.push_name).unwrap_or_default(),
            },
            settings: Settings {
                keep_online_status: instance.keep_online,
            },
            node_silent: node.as_ref().is_some_and(|node| node.is_silent),
            node: node.map(|node| node.address),
        }
    }
}

impl Connection {
    /// An instance that the fleet does not know yet, or no longer, is not connected.
    fn of(status: Option<&InstanceStatus>) -> Self {
        let time = Time::read();
        let state = status.map_or(InstanceState::Disconnected, |status| status.state);
        Self {
            state: state.as_str(),
            number_jid: status.and_then(|status| status.jid.clone()),
            presence_status: match status {
                Some(status) if status.available => "available",
                _ => "unavailable",
            },
            display_status: display_status(state, status.and_then(|status| status.reason), time.now),
            since: status.map(|status| timestamp(time.wall_at(status.since))),
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
