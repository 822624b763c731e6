//! `POST /api/instance/new`.

use std::collections::HashMap;

use hyper::{Response, StatusCode};
use presence_store::{AccountId, CreateInstanceError, InstanceName, NewInstance, Token};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::proxy::{SentPort, SentProxy};
use super::reply::{InInstance, timestamp};
use crate::clock::utc_now;
use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::proxy;

const NAME_REQUIRED: ApiError = ApiError::Invalid {
    text: "Instance name is required",
    detail: "name: it is missing or blank",
};
const INVALID_NAME: ApiError = ApiError::Invalid {
    text: "Invalid instance name. Use 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit",
    detail: "name: it is too long, or has a character that is not allowed there",
};
const INVALID_TOKEN: ApiError = ApiError::Invalid {
    text: "Invalid instance token. Use 16 to 128 printable ASCII characters without spaces, not in use anywhere",
    detail: "token: 16 to 128 printable ASCII characters, which no other token has, are needed",
};

/// What names a proxy beside `proxyEnabled`; without that it has no effect.
const PROXY_FIELDS: [&str; 5] = [
    "proxyHost",
    "proxyPort",
    "proxyProtocol",
    "proxyUsername",
    "proxyPassword",
];

/// What the reference API also takes when an instance is created, and this service does not act on.
const REFERENCE_FIELDS: [&str; 31] = [
    "webhookEnabled",
    "webhookURL",
    "webhookAuthorization",
    "webhookByEvents",
    "webhookEvents",
    "webhookMediaBase64",
    "websocketEnabled",
    "websocketEvents",
    "websocketMediaBase64",
    "chatwootEnabled",
    "chatwootBaseUrl",
    "chatwootAccountId",
    "chatwootApiToken",
    "chatwootInboxName",
    "chatwootSignMessages",
    "chatwootIgnoreGroups",
    "chatwootStartAsPending",
    "chatwootReopenResolved",
    "autoRejectCalls",
    "callRejectMessage",
    "ignoreGroupMessages",
    "autoReadMessages",
    "disableHistorySync",
    "ignoreStatus",
    "s3Enabled",
    "s3Region",
    "s3Bucket",
    "s3AccessKey",
    "s3SecretKey",
    "s3Endpoint",
    "s3PathPrefix",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewRequest {
    name: Option<String>,
    token: Option<String>,
    keep_online_status: Option<bool>,
    proxy_enabled: Option<bool>,
    proxy_host: Option<String>,
    proxy_port: Option<SentPort>,
    proxy_protocol: Option<String>,
    proxy_username: Option<String>,
    proxy_password: Option<String>,
}

/// Every field that was sent, whatever its value. Read apart from [`NewRequest`]: `serde(flatten)` would take
/// all values into memory, and refuse nesting that the other routes ignore.
#[derive(Deserialize)]
struct SentFields(HashMap<String, Option<IgnoredAny>>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    name: &'a str,
    token: &'a str,
    status: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<&'static str>,
}

/// Creates an instance. It is disconnected until a phone links it.
pub(in crate::http) async fn new(
    instances: &Instances,
    account: AccountId,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let request: NewRequest = json::parse(body)?;
    let with_proxy = request.proxy_enabled == Some(true);
    let ignored = json::parse::<SentFields>(body)?.ignored(with_proxy);
    let new = NewInstance::try_from(request)?;
    let (instance, token) = instances.create(account, new).await?;
    let created = Created {
        name: instance.name.as_str(),
        token: token.expose(),
        status: "disconnected",
        created_at: timestamp(instance.created_at),
        ignored,
    };
    Ok(json::succeed(
        StatusCode::CREATED,
        "Instance created",
        InInstance { instance: created },
    ))
}

impl SentFields {
    /// Those of the reference API that have no effect. A `null` was not sent.
    fn ignored(&self, with_proxy: bool) -> Vec<&'static str> {
        let sent = |name: &&&str| matches!(self.0.get(**name), Some(Some(_)));
        let of_proxy: &[&'static str] = if with_proxy { &[] } else { &PROXY_FIELDS };
        let without_effect = of_proxy.iter().chain(&REFERENCE_FIELDS);
        without_effect.filter(sent).copied().collect()
    }
}

impl TryFrom<NewRequest> for NewInstance {
    type Error = ApiError;

    fn try_from(request: NewRequest) -> Result<Self, ApiError> {
        let name = request
            .name
            .filter(|name| !name.trim().is_empty())
            .ok_or(NAME_REQUIRED)?;
        let name: InstanceName = name.parse().map_err(|_| INVALID_NAME)?;
        let token = request
            .token
            .map(|token| token.parse::<Token>())
            .transpose()
            .map_err(|_| INVALID_TOKEN)?;
        let proxy = SentProxy {
            enabled: request.proxy_enabled,
            host: request.proxy_host,
            port: request.proxy_port,
            protocol: request.proxy_protocol,
            username: request.proxy_username,
            password: request.proxy_password,
        };
        let proxy = proxy.read()?.as_ref().map(proxy::secret);
        Ok(Self {
            name,
            token,
            proxy,
            keep_online: request.keep_online_status.unwrap_or(false),
            now: utc_now(),
        })
    }
}

impl From<CreateInstanceError> for ApiError {
    fn from(error: CreateInstanceError) -> Self {
        match error {
            CreateInstanceError::NameTaken => Self::NameTaken,
            CreateInstanceError::QuotaExceeded => Self::QuotaExceeded,
            CreateInstanceError::TokenTaken => INVALID_TOKEN,
            // The account was deleted after its token was checked.
            CreateInstanceError::NoAccount => Self::InvalidToken,
            error => Self::internal("creating an instance", Some(error.into())),
        }
    }
}
