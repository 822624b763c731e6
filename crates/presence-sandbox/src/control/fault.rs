//! Faults as JSON: what goes wrong (`kind` and its own fields), and for whom, when and how often.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Refusal;
use crate::world::{Fault, FaultKind, Number, When, World};

/// What every kind of fault takes besides its own fields.
#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    account: Option<Number>,
    #[serde(default)]
    when: Option<Moment>,
    #[serde(default)]
    after_stanzas: Option<u32>,
    #[serde(default)]
    times: Option<u32>,
    #[serde(default)]
    for_ms: Option<u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Moment {
    Now,
    Login,
}

/// Reads `{"kind":"stream_error","code":503,"when":"login","account":"5511988887777","times":1}`.
pub(super) fn read(fields: Map<String, Value>) -> Result<Fault, Refusal> {
    let is_common =
        |key: &String| ["account", "when", "after_stanzas", "times", "for_ms"].contains(&key.as_str());
    let (common, own): (Map<_, _>, Map<_, _>) = fields.into_iter().partition(|(key, _)| is_common(key));
    let invalid = |error: serde_json::Error| Refusal::bad(format!("invalid fault: {error}"));
    let common: Common = serde_json::from_value(Value::Object(common)).map_err(invalid)?;
    let kind: FaultKind = serde_json::from_value(Value::Object(own.clone())).map_err(invalid)?;
    // A kind without fields of its own would take any.
    let known = serde_json::to_value(&kind).map_err(invalid)?;
    if let Some(unknown) = own.keys().find(|key| known.get(key).is_none()) {
        return Err(Refusal::bad(format!("invalid fault: unknown field `{unknown}`")));
    }

    let mut fault = Fault::new(kind);
    fault = match (common.when, common.after_stanzas) {
        (None, Some(stanzas)) => fault.when(When::AfterStanzas(stanzas)),
        (Some(Moment::Login), None) => fault.when(When::Login),
        (Some(Moment::Now) | None, None) => fault,
        (Some(_), Some(_)) => return Err(Refusal::bad("either 'when' or 'after_stanzas', not both")),
    };
    if let Some(account) = common.account {
        fault = fault.on(account);
    }
    if let Some(millis) = common.for_ms {
        fault = fault.lasting(Duration::from_millis(millis));
    }
    Ok(match common.times {
        Some(times) => fault.times(times),
        None => fault,
    })
}

pub(super) fn list(world: &World) -> Vec<Value> {
    world
        .faults()
        .map(|(id, fault)| describe(json!(id), fault))
        .collect()
}

fn describe(id: Value, fault: &Fault) -> Value {
    let mut fields = json!(fault.kind());
    fields["id"] = id;
    fields["account"] = json!(fault.account());
    fields["times"] = json!(fault.remaining());
    if let Some(time) = fault.duration() {
        fields["for_ms"] = json!(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
    match fault.moment() {
        When::Now => {}
        When::Login => fields["when"] = json!("login"),
        When::AfterStanzas(stanzas) => fields["after_stanzas"] = json!(stanzas),
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;

    fn parsed(text: &str) -> Result<Fault, String> {
        read(serde_json::from_str(text).unwrap()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn each_fault_has_its_json() {
        let account = "5511988887777".parse().unwrap();
        let cases = [
            (
                r#"{"kind":"stream_error","code":503,"when":"login","account":"5511988887777","times":1}"#,
                Fault::stream_error(503).when(When::Login).on(account).times(1),
            ),
            (
                r#"{"kind":"stream_error","code":429,"hang_up":false}"#,
                Fault::new(FaultKind::StreamError {
                    code: 429,
                    hang_up: false,
                }),
            ),
            (
                r#"{"kind":"failure","reason":403,"when":"now"}"#,
                Fault::failure(403),
            ),
            (
                r#"{"kind":"failure","reason":504,"when":"login","for_ms":3000}"#,
                Fault::failure(504)
                    .when(When::Login)
                    .lasting(Duration::from_secs(3)),
            ),
            (
                r#"{"kind":"failure_without_reason","when":"login","times":2}"#,
                Fault::new(FaultKind::FailureWithoutReason)
                    .when(When::Login)
                    .times(2),
            ),
            (r#"{"kind":"replaced"}"#, Fault::new(FaultKind::Replaced)),
            (
                r#"{"kind":"device_removed"}"#,
                Fault::new(FaultKind::DeviceRemoved),
            ),
            (r#"{"kind":"stream_end"}"#, Fault::new(FaultKind::StreamEnd)),
            (
                r#"{"kind":"drop","after_stanzas":3}"#,
                Fault::new(FaultKind::Drop).when(When::AfterStanzas(3)),
            ),
            (r#"{"kind":"stall"}"#, Fault::stall()),
            (r#"{"kind":"refuse","times":2}"#, Fault::refuse().times(2)),
            (
                r#"{"kind":"withhold","answers":["ping"]}"#,
                Fault::withhold(Answer::Ping),
            ),
            (
                r#"{"kind":"delay","answers":["usync"],"delay_ms":2500}"#,
                Fault::delay(Answer::Usync, Duration::from_millis(2500)),
            ),
            (
                r#"{"kind":"reject","answers":["link_code"],"code":429}"#,
                Fault::new(FaultKind::Reject {
                    answers: vec![Answer::LinkCode],
                    code: 429,
                    text: String::new(),
                }),
            ),
            (
                r#"{"kind":"ban","lasts_ms":60000}"#,
                Fault::ban(Duration::from_secs(60)),
            ),
        ];
        for (text, fault) in cases {
            assert_eq!(parsed(text).as_ref(), Ok(&fault), "{text}");
        }
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        for text in [
            r#"{}"#,
            r#"{"kind":"earthquake"}"#,
            r#"{"kind":"drop","acount":"5511988887777"}"#,
            r#"{"kind":"drop","account":"+55"}"#,
            r#"{"kind":"stream_error"}"#,
            r#"{"kind":"stream_error","code":503,"hangup":true}"#,
            r#"{"kind":"withhold","answers":["pong"]}"#,
            r#"{"kind":"drop","when":"login","after_stanzas":1}"#,
            r#"{"kind":"drop","when":"tomorrow"}"#,
            r#"{"kind":"drop","times":-1}"#,
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
