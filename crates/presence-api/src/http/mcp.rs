//! `POST /mcp`: the presences as tools for AI agents, in MCP's streamable HTTP form.
//!
//! Each request stands for itself: there is no session of the protocol, and an answer is one JSON body. So a token,
//! a limit and a stop mean the same here as on any other route.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use presence_core::{ChatPresence, ChatPresenceRequest, PresenceSent};
use presence_store::Caller;
use presence_wa::InstanceState;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio::time::Instant;

use crate::agent_tools::{AgentTools, Presences, ToolError, ToolInstance};
use crate::display_status::display_status;
use crate::error::ApiError;
use crate::instances::Instances;
use crate::json::{Body, MAX_BODY};

/// Answers one message of the protocol.
pub(super) async fn mcp(
    instances: &Instances,
    caller: Caller,
    parts: &Parts,
    body: Bytes,
) -> Result<Response<Body>, ApiError> {
    let tools = AgentTools::new(Arc::new(Own {
        instances: instances.clone(),
        caller,
    }));
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        // Browsers are kept out by the token, whatever name they call the service by.
        .disable_allowed_hosts()
        .with_max_request_body_bytes(MAX_BODY);
    let service = StreamableHttpService::new(
        move || Ok(tools.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.headers_mut() = parts.headers.clone();
    // Whose it is, is known here.
    request.headers_mut().remove(AUTHORIZATION);
    request.headers_mut().remove("token");
    let (mut parts, body) = service.handle(request).await.into_parts();
    // The library's refusals are plain text, and do not say so.
    if !parts.status.is_success() {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        parts.headers.entry(CONTENT_TYPE).or_insert(plain);
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// The instances of one caller, in this process.
struct Own {
    instances: Instances,
    caller: Caller,
}

#[async_trait]
impl Presences for Own {
    async fn show(&self, instance: &str, request: &Value) -> Result<PresenceSent, ToolError> {
        let shown = async {
            let instance = self.instances.find_soon(&self.caller, instance).await?;
            let request = ChatPresenceRequest::from_json(request.to_string().as_bytes())?;
            let presence = ChatPresence::try_from(request)?;
            Ok(self.instances.presence(&instance, &presence).await?)
        };
        shown.await.map_err(|error: ApiError| ToolError(error.words()))
    }

    async fn list(&self) -> Result<Vec<ToolInstance>, ToolError> {
        let now = Instant::now();
        let listed = self.instances.list(&self.caller).await.into_iter();
        let listed = listed.map(|listed| {
            let state = listed
                .status
                .as_ref()
                .map_or(InstanceState::Disconnected, |status| status.state);
            let reason = listed.status.as_ref().and_then(|status| status.reason);
            ToolInstance {
                name: listed.instance.name.to_string(),
                state: state.to_string(),
                display_status: display_status(state, reason, now),
                number_jid: listed.status.and_then(|status| status.jid),
            }
        });
        Ok(listed.collect())
    }
}
