//! `GET /api/instance/getSettings/:instance` and `POST /api/instance/settings/:instance`.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use presence_store::Instance;
use serde::{Deserialize, Serialize};

use super::{store_failed, to_its_end};
use crate::app::App;
use crate::error::ApiError;
use crate::json::{self, Body};

/// The settings of the reference API. All but one describe what this service never does.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    auto_reject_calls: bool,
    call_reject_message: &'static str,
    ignore_group_messages: bool,
    keep_online_status: bool,
    auto_read_messages: bool,
    disable_history_sync: bool,
    ignore_status: bool,
}

#[derive(Serialize)]
struct SettingsReply {
    settings: Settings,
}

/// What to change; what is absent or `null` stays.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Changes {
    auto_reject_calls: Option<bool>,
    call_reject_message: Option<String>,
    ignore_group_messages: Option<bool>,
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
        SettingsReply { settings },
    )
}

/// Changes the one setting there is. It is durable, and the session acts on it, before this is answered.
pub(in crate::http) async fn change_settings(
    app: &Arc<App>,
    instance: Arc<Instance>,
    body: &[u8],
) -> Result<Response<Body>, ApiError> {
    let changes: Changes = json::parse(body)?;
    changes.check()?;
    let keep_online = match changes.keep_online_status {
        None => instance.keep_online,
        Some(keep_online) => {
            let shared = Arc::clone(app);
            let change = async move {
                let set = shared.registry.set_keep_online(instance.id, keep_online).await;
                if !set.map_err(store_failed("changing a setting"))? {
                    return Err(ApiError::NoSuchInstance);
                }
                shared.sessions.apply_settings(instance.id);
                Ok(keep_online)
            };
            to_its_end(app, change).await?
        }
    };
    let settings = Settings::with(keep_online);
    Ok(json::succeed(
        StatusCode::OK,
        "Settings updated successfully",
        SettingsReply { settings },
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
    /// Refuses to change what is constant; the first fault in the order of the fields.
    fn check(&self) -> Result<(), ApiError> {
        const CONSTANT: Settings = Settings::with(false);
        let same = |change: Option<bool>, constant: bool| change.is_none_or(|value| value == constant);
        let message_same = self
            .call_reject_message
            .as_deref()
            .is_none_or(|text| text == CONSTANT.call_reject_message);
        let checks = [
            (
                "autoRejectCalls",
                same(self.auto_reject_calls, CONSTANT.auto_reject_calls),
            ),
            ("callRejectMessage", message_same),
            (
                "ignoreGroupMessages",
                same(self.ignore_group_messages, CONSTANT.ignore_group_messages),
            ),
            (
                "autoReadMessages",
                same(self.auto_read_messages, CONSTANT.auto_read_messages),
            ),
            (
                "disableHistorySync",
                same(self.disable_history_sync, CONSTANT.disable_history_sync),
            ),
            ("ignoreStatus", same(self.ignore_status, CONSTANT.ignore_status)),
        ];
        match checks.iter().find(|(_, unchanged)| !unchanged) {
            Some((name, _)) => Err(ApiError::SettingNotSupported(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    //! What may be written.

    use super::*;

    fn check(body: &str) -> Option<String> {
        json::parse::<Changes>(body.as_bytes())
            .and_then(|changes| changes.check())
            .err()
            .map(|error| error.answer().1)
    }

    #[test]
    fn writing_a_constant_is_fine_and_another_value_is_not() {
        let constants = r#"{"autoRejectCalls":false,"callRejectMessage":"","ignoreGroupMessages":false,
            "autoReadMessages":false,"disableHistorySync":true,"ignoreStatus":false,"other":1}"#;
        assert_eq!(check(constants), None);
        assert_eq!(check(r#"{"ignoreStatus":null,"keepOnlineStatus":true}"#), None);
        for (name, value) in [
            ("autoRejectCalls", "true"),
            ("callRejectMessage", "\"busy\""),
            ("ignoreGroupMessages", "true"),
            ("autoReadMessages", "true"),
            ("disableHistorySync", "false"),
            ("ignoreStatus", "true"),
        ] {
            let expected = format!("Setting '{name}' is not supported");
            assert_eq!(check(&format!(r#"{{"{name}":{value}}}"#)), Some(expected));
        }
        let several = check(r#"{"ignoreStatus":true,"autoRejectCalls":true}"#);
        assert_eq!(
            several.as_deref(),
            Some("Setting 'autoRejectCalls' is not supported")
        );
        assert_eq!(
            check(r#"{"keepOnlineStatus":"yes"}"#).as_deref(),
            Some("Invalid request body")
        );
    }
}
