//! `POST /api/instance/new`.

use std::collections::HashMap;

use hyper::{Response, StatusCode};
use presence_store::{AccountId, CreateInstanceError, InstanceName, NewInstance, Token};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::proxy::{SentPort, SentProxy};
use super::reply::{InInstance, timestamp};
use crate::clock::utc_now;
use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};
use crate::proxy;
use crate::schema;

pub(in crate::http) const NAME_REQUIRED: ApiError = ApiError::Invalid {
    text: "Instance name is required",
    detail: "name: it is missing or blank",
};
pub(in crate::http) const INVALID_NAME: ApiError = ApiError::Invalid {
    text: "Invalid instance name. Use 1 to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit",
    detail: "name: it is too long, or has a character that is not allowed there",
};
pub(in crate::http) const INVALID_TOKEN: ApiError = ApiError::Invalid {
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

/// An instance to be created. Fields of the reference API that this service does not act on are taken, and named in
/// the answer.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewInstance)]
pub(in crate::http) struct NewRequest {
    #[schema(schema_with = schema::instance_name, required = true)]
    name: Option<String>,
    /// A token of your own, which no other token is; without one, the service makes one.
    #[schema(min_length = 16, max_length = 128, pattern = "^[!-~]+$", nullable = false)]
    token: Option<String>,
    /// Whether the account is shown as online all the time, which silences its phone.
    #[schema(default = false, nullable = false)]
    keep_online_status: Option<bool>,
    /// Whether it has a proxy from the start. `true` needs `proxyHost`, `proxyPort` and `proxyProtocol`; without it
    /// the other fields of the proxy have no effect.
    #[schema(default = false, nullable = false)]
    proxy_enabled: Option<bool>,
    #[schema(nullable = false)]
    proxy_host: Option<String>,
    #[schema(nullable = false)]
    proxy_port: Option<SentPort>,
    #[schema(schema_with = schema::proxy_protocol)]
    proxy_protocol: Option<String>,
    #[schema(nullable = false)]
    proxy_username: Option<String>,
    #[schema(write_only, nullable = false)]
    proxy_password: Option<String>,
}

/// Every field that was sent, whatever its value. Read apart from [`NewRequest`]: `serde(flatten)` would take
/// all values into memory, and refuse nesting that the other routes ignore.
#[derive(Deserialize)]
struct SentFields(HashMap<String, Option<IgnoredAny>>);

/// The instance that was created.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreatedInstance)]
pub(in crate::http) struct Created<'a> {
    name: &'a str,
    /// Its own token: it reaches this instance only.
    token: &'a str,
    #[schema(schema_with = schema::disconnected)]
    status: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    /// What was sent and has no effect here.
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
            CreateInstanceError::Store(error) => error.into(),
            error => Self::internal("creating an instance", Some(error.into())),
        }
    }
}
