//! A JSON API on loopback, as a client sees it.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use ureq::http::Request;

/// Where an API is, and who calls it.
#[derive(Clone)]
pub(crate) struct Api {
    agent: ureq::Agent,
    base: String,
    token: String,
}

/// What a call was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Api {
    /// The longest call is one that waits for a QR code, a minute.
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(70);

    /// The API at `base`; `token` goes with every call, and may be empty where none is needed.
    pub(crate) fn new(base: impl Into<String>, token: impl Into<String>) -> Self {
        Self::with_timeout(base, token, Self::REQUEST_TIMEOUT)
    }

    /// As [`new`](Self::new), for calls that are answered within `timeout`.
    pub(crate) fn with_timeout(base: impl Into<String>, token: impl Into<String>, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .build();
        Self {
            agent: config.into(),
            base: base.into(),
            token: token.into(),
        }
    }

    /// Where it is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None)?.success(path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("POST", path, Some(body))?.success(path)
    }

    /// Posts nothing. Nor is it `null`: a server that takes no body may hang up on one that comes late, and
    /// the next call would meet that.
    pub(crate) fn post_nothing(&self, path: &str) -> anyhow::Result<Value> {
        self.call("POST", path, None)?.success(path)
    }

    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call("DELETE", path, None)?.success(path)
    }

    /// Calls, and takes any status as an answer.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("token", &self.token)
            .body(body.map(Value::to_string).unwrap_or_default())?;
        let mut response = self
            .agent
            .run(request)
            .with_context(|| format!("{method} {path} was not answered"))?;
        let text = response.body_mut().read_to_string()?;
        Ok(Answer {
            status: response.status().as_u16(),
            text,
        })
    }
}

impl Answer {
    pub(crate) fn success(self, path: &str) -> anyhow::Result<Value> {
        ensure!(
            (200..300).contains(&self.status),
            "{path} answered {}: {}",
            self.status,
            self.text
        );
        serde_json::from_str(&self.text).with_context(|| format!("{path} answered no JSON: {}", self.text))
    }
}
