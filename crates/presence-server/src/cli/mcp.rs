//! `presence-server mcp`: the API of a running server as tools for an AI agent, over stdin and stdout.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use clap::Args;
use hyper::Method;
use presence_api::{AgentTools, Presences, ToolError, ToolInstance};
use presence_core::PresenceSent;
use rmcp::ServiceExt as _;
use serde_json::Value;

use super::api::{Answer, Api, ServerArgs, TokenArgs};

#[derive(Debug, Args)]
pub(super) struct McpArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    token: TokenArgs,
}

pub(super) fn run(args: McpArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(args));
    // A read of stdin cannot be called back.
    runtime.shutdown_background();
    served
}

/// Serves until the agent closes stdin.
async fn serve(args: McpArgs) -> anyhow::Result<()> {
    let api = Api::new(args.server, args.token)?;
    let tools = AgentTools::new(Arc::new(Remote(api)));
    let running = tools
        .serve((tokio::io::stdin(), tokio::io::stdout()))
        .await
        .context("nobody on stdin speaks MCP")?;
    running.waiting().await.context("serving failed")?;
    Ok(())
}

/// The instances of a token, through the API of a running server.
struct Remote(Api);

#[async_trait]
impl Presences for Remote {
    async fn show(&self, instance: &str, request: &Value) -> Result<PresenceSent, ToolError> {
        let path = ["api", "chat", "presence", instance];
        let answer = self.0.call(Method::POST, &path, &[], Some(request.clone())).await;
        let sent = success(answer)?;
        serde_json::from_value(sent).map_err(|_| ToolError("The server gave an unknown answer.".to_owned()))
    }

    async fn list(&self) -> Result<Vec<ToolInstance>, ToolError> {
        let answer = self
            .0
            .call(Method::GET, &["api", "instance", "list"], &[], None)
            .await;
        let listed = success(answer)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let instances = listed["instances"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let instances = instances.iter().map(|item| {
            let connection = &item["connection"];
            ToolInstance {
                name: text(&item["name"]),
                state: text(&connection["state"]),
                display_status: text(&connection["displayStatus"]),
                number_jid: connection["numberJid"].as_str().map(str::to_owned),
            }
        });
        Ok(instances.collect())
    }
}

/// The body of a success, or the server's words.
fn success(answer: anyhow::Result<Answer>) -> Result<Value, ToolError> {
    let answer = answer.map_err(|error| ToolError(format!("{error:#}")))?;
    if answer.status.is_success() {
        return Ok(answer.body.value);
    }
    let message = answer.body.value["error"]["message"].as_str();
    let message = message.unwrap_or("The server gave no reason.");
    Err(ToolError(match answer.detail {
        Some(detail) => format!("{message} ({detail})"),
        None => message.to_owned(),
    }))
}
