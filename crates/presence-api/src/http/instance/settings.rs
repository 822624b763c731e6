//! `GET /api/instance/getSettings/:instance` and `POST /api/instance/settings/:instance`.

use hyper::{Response, StatusCode};
use presence_store::Instance;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{self, Body};

/// The settings of the reference API. All but one describe what this service never does.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InstanceSettings)]
struct Settings {
    auto_reject_calls: bool,
    call_reject_message: &'static str,
    ignore_group_messages: bool,
    keep_online_status: bool,
    auto_read_messages: bool,
    disable_history_sync: bool,
    ignore_status: bool,
}

/// The settings of an instance.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SettingsReply {
    settings: Settings,
    /// What was sent and is constant here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<&'static str>,
}

/// What to change; what is absent or `null` stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SettingsChange)]
pub(in crate::http) struct Changes {
    auto_reject_calls: Option<bool>,
    call_reject_message: Option<String>,
    ignore_group_messages: Option<bool>,
    /// Whether the account is shown as online all the time, which silences its phone. The other settings are constant.
    keep_online_status: Option<bool>,
    auto_read_messages: Option<bool>,
    disable_history_sync: Option<bool>,
    ignore_status: Option<bool>,
}

/// Shows the settings.
pub(in crate::http) fn get_settings(instance: &Instance) -> Response<Body> {
    let settings = Settings::with(instance.keep_online);
    json::succeed(
        StatusCode::OK,
        "Settings retrieved successfully",
        SettingsReply {
            settings,
            ignored: Vec::new(),
        },
    )
}

/// Changes the one setting there is. It is durable, and the session acts on it, before this is answered.
pub(in crate::http) async fn change_settings(
    instances: &Instances,
    instance: &Instance,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let changes: Changes = json::parse(body)?;
    let ignored = changes.ignored();
    let keep_online = match changes.keep_online_status {
        None => instance.keep_online,
        Some(keep) if instances.set_keep_online(instance, keep).await? => keep,
        Some(_) => return Err(ApiError::NoSuchInstance),
    };
    let settings = Settings::with(keep_online);
    Ok(json::succeed(
        StatusCode::OK,
        "Settings updated successfully",
        SettingsReply { settings, ignored },
    ))
}

impl Settings {
    const fn with(keep_online_status: bool) -> Self {
        Self {
            auto_reject_calls: false,
            call_reject_message: "",
            ignore_group_messages: false,
            keep_online_status,
            auto_read_messages: false,
            disable_history_sync: true,
            ignore_status: false,
        }
    }
}

impl Changes {
    /// What of it asks for another value of a constant: that is taken, and changes nothing.
    fn ignored(&self) -> Vec<&'static str> {
        const CONSTANT: Settings = Settings::with(false);
        let differs = |change: Option<bool>, constant: bool| change.is_some_and(|value| value != constant);
        let message = self.call_reject_message.as_deref();
        let table = [
            (
                "autoRejectCalls",
                differs(self.auto_reject_calls, CONSTANT.auto_reject_calls),
            ),
            (
                "callRejectMessage",
                message.is_some_and(|text| text != CONSTANT.call_reject_message),
            ),
            (
                "ignoreGroupMessages",
                differs(self.ignore_group_messages, CONSTANT.ignore_group_messages),
            ),
            (
                "autoReadMessages",
                differs(self.auto_read_messages, CONSTANT.auto_read_messages),
            ),
            (
                "disableHistorySync",
                differs(self.disable_history_sync, CONSTANT.disable_history_sync),
            ),
            (
                "ignoreStatus",
                differs(self.ignore_status, CONSTANT.ignore_status),
            ),
        ];
        let ignored = table.into_iter().filter(|(_, differs)| *differs);
        ignored.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    //! What is taken, and what of it has no effect.

    use super::*;

    fn ignored(body: &str) -> Vec<&'static str> {
        json::parse::<Changes>(body.as_bytes()).unwrap().ignored()
    }

    #[test]
    fn another_value_of_a_constant_is_taken_and_named() {
        let constants = r#"{"autoRejectCalls":false,"callRejectMessage":"","ignoreGroupMessages":false,
            "autoReadMessages":false,"disableHistorySync":true,"ignoreStatus":false,"other":1}"#;
        assert!(ignored(constants).is_empty());
        assert!(ignored(r#"{"ignoreStatus":null,"keepOnlineStatus":true}"#).is_empty());
        let all = [
            ("autoRejectCalls", "true"),
            ("callRejectMessage", "\"busy\""),
            ("ignoreGroupMessages", "true"),
            ("autoReadMessages", "true"),
            ("disableHistorySync", "false"),
            ("ignoreStatus", "true"),
        ];
        for (name, value) in all {
            assert_eq!(ignored(&format!(r#"{{"{name}":{value}}}"#)), [name]);
        }
        let several = ignored(r#"{"ignoreStatus":true,"autoRejectCalls":true}"#);
        assert_eq!(several, ["autoRejectCalls", "ignoreStatus"]);
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_name() {
        for name in ["keepOnlineStatus", "autoRejectCalls", "ignoreStatus"] {
            let body = format!(r#"{{"{name}":"yes"}}"#);
            match json::parse::<Changes>(body.as_bytes()) {
                Err(json::BodyError::Invalid(detail)) => assert!(detail.starts_with(name), "{detail}"),
                _ => panic!("{name} was taken"),
            }
        }
    }
}
