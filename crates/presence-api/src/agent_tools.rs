//! The presences as tools for AI agents, by the Model Context Protocol (MCP).
//!
//! [`AgentTools`] answers the protocol; what a tool does is done by [`Presences`]: the API in this process under
//! `POST /mcp`, or a server's API elsewhere under `presence-server mcp`. An agent reads the descriptions and answers
//! here and nothing else, so they say what a person who uses the API reads in its manual: for how long something is
//! shown, and that no message is sent.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use presence_core::{Hold, PresenceSent, PresenceState};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the tools do it with.
#[async_trait]
pub trait Presences: Send + Sync + 'static {
    /// Asks `instance` for a presence: `request` is a body of `POST /api/chat/presence/:instance`.
    ///
    /// # Errors
    /// The words for the agent.
    async fn show(&self, instance: &str, request: &Value) -> Result<PresenceSent, ToolError>;

    /// The instances that the token reaches.
    ///
    /// # Errors
    /// The words for the agent.
    async fn list(&self) -> Result<Vec<ToolInstance>, ToolError>;
}

/// An instance, as `list_instances` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolInstance {
    /// Its name.
    pub name: String,
    /// `connected`, `connecting`, `disconnected` or `loggedout`.
    pub state: String,
    /// The state in words, with its reason.
    pub display_status: String,
    /// The account's JID, while a phone is linked.
    pub number_jid: Option<String>,
}

/// Why a tool did not do it, in words for the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// The four tools: `show_typing`, `show_recording`, `stop` and `list_instances`. Cheap to clone.
#[derive(Clone)]
pub struct AgentTools {
    presences: Arc<dyn Presences>,
}

impl AgentTools {
    /// Tools that do it with `presences`.
    #[must_use]
    pub fn new(presences: Arc<dyn Presences>) -> Self {
        Self { presences }
    }

    async fn show(&self, state: PresenceState, arguments: JsonObject) -> Result<String, ToolError> {
        let arguments: ShowArguments = serde_json::from_value(Value::Object(arguments))
            .map_err(|_| ToolError("instance must be a string".to_owned()))?;
        let instance = match arguments.instance.filter(|name| !name.trim().is_empty()) {
            Some(name) => name,
            None => self.only_instance().await?,
        };
        let duration = match state {
            PresenceState::Pause => Value::Null,
            _ => arguments.duration.unwrap_or_else(|| DEFAULT_DURATION.into()),
        };
        let request = json!({
            "number": arguments.number,
            "state": state.as_str(),
            "duration": duration,
        });
        let sent = self.presences.show(&instance, &request).await?;
        Ok(what_was_shown(&sent))
    }

    /// The one instance there is, for an agent that named none.
    async fn only_instance(&self) -> Result<String, ToolError> {
        let mut instances = self.presences.list().await?;
        match (instances.pop(), instances.len()) {
            (Some(only), 0) => Ok(only.name),
            (None, _) => Err(ToolError("There is no instance yet.".to_owned())),
            (Some(_), _) => Err(ToolError(
                "There are several instances: name one in `instance`. `list_instances` lists them."
                    .to_owned(),
            )),
        }
    }
}

impl ServerHandler for AgentTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("presence", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let shown = match &*request.name {
            "show_typing" => self.show(PresenceState::Typing, arguments).await,
            "show_recording" => self.show(PresenceState::Recording, arguments).await,
            "stop" => self.show(PresenceState::Pause, arguments).await,
            "list_instances" => {
                let listed = self.presences.list().await;
                let listed = listed.map(|instances| json!({ "instances": instances }));
                return Ok(match listed {
                    Ok(listed) => CallToolResult::structured(listed).into(),
                    Err(error) => refusal(error),
                });
            }
            _ => return Err(ErrorData::invalid_params("there is no such tool", None)),
        };
        Ok(match shown {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]).into(),
            Err(error) => refusal(error),
        })
    }
}

/// How long an indicator is shown when the agent does not say, in seconds: the time of a short answer.
const DEFAULT_DURATION: u8 = 10;

const INSTRUCTIONS: &str = "Shows on WhatsApp that somebody is writing or recording, as a person's phone does. \
     It never sends a message and never reads one. Show the indicator before you send an answer by other means: it \
     ends by itself after the seconds you ask for, and phones hide it when the answer arrives.";

/// What the tools for indicators take. What of it means anything is decided as for any request.
#[derive(Deserialize)]
struct ShowArguments {
    instance: Option<String>,
    number: Option<Value>,
    duration: Option<Value>,
}

fn tools() -> Vec<Tool> {
    let indicator = |name: &'static str, title: &str, what: &str| {
        let description = format!(
            "Shows \"{what}\" in a WhatsApp chat, at once. It sends no message. After `duration` seconds it ends by \
             itself; `stop` ends it earlier; another call for the chat replaces it."
        );
        let schema = schema(
            json!({
                "number": number_schema(),
                "duration": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": Hold::MAX.as_secs(),
                    "default": DEFAULT_DURATION,
                    "description": "For how many seconds it is shown. 0 shows it once, and phones hide it after 5 to 10 seconds.",
                },
                "instance": instance_schema(),
            }),
            &["number"],
        );
        Tool::new(name, description, schema).with_annotations(changes(title))
    };
    vec![
        indicator("show_typing", "Show typing…", "typing…"),
        indicator("show_recording", "Show recording audio…", "recording audio…"),
        Tool::new(
            "stop",
            "Ends what the chat shows, at once: \"typing…\" or \"recording audio…\" disappears. It sends no message.",
            schema(
                json!({ "number": number_schema(), "instance": instance_schema() }),
                &["number"],
            ),
        )
        .with_annotations(changes("Stop the indicator")),
        Tool::new(
            "list_instances",
            "Lists the WhatsApp accounts (instances) that indicators can be shown as, and how each is connected. Only \
             one whose state is `connected` can show anything; `displayStatus` says why another cannot.",
            schema(json!({}), &[]),
        )
        .with_annotations(ToolAnnotations::with_title("List instances").read_only(true)),
    ]
}

/// What is true of every tool that shows something: nothing is lost by it, and others see it.
fn changes(title: &str) -> ToolAnnotations {
    ToolAnnotations::with_title(title)
        .read_only(false)
        .destructive(false)
        .idempotent(true)
        .open_world(true)
}

fn number_schema() -> Value {
    json!({
        "type": "string",
        "description": "Whose phone shows it: a phone number with country code, such as +55 11 99999-9999, or the JID of a chat or group.",
    })
}

fn instance_schema() -> Value {
    json!({
        "type": "string",
        "description": "Which WhatsApp account shows it: a name that `list_instances` lists. May be left out when there is only one.",
    })
}

fn schema(properties: Value, required: &[&str]) -> Arc<JsonObject> {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), required.into());
    Arc::new(schema)
}

fn what_was_shown(sent: &PresenceSent) -> String {
    let chat = sent.chat();
    let what = match sent.state() {
        PresenceState::Typing => "typing…",
        PresenceState::Recording => "recording audio…",
        PresenceState::Pause => {
            return format!("The chat {chat} shows no indicator any more. No message was sent.");
        }
    };
    let mut text = match sent.hold().map(Hold::as_secs) {
        Some(seconds) => format!(
            "The chat {chat} shows \"{what}\" for {seconds} seconds from now; then it ends by itself. No message was sent."
        ),
        None => format!(
            "The chat {chat} shows \"{what}\" once; phones hide it after 5 to 10 seconds. No message was sent."
        ),
    };
    if let Some(warning) = sent.warning() {
        let _ = write!(text, " Warning: {warning}.");
    }
    text
}

fn refusal(error: ToolError) -> CallToolResponse {
    CallToolResult::error(vec![ContentBlock::text(error.0)]).into()
}

#[cfg(test)]
mod tests {
    use presence_core::{ChatPresence, Recipient};

    use super::*;

    fn words(presence: ChatPresence) -> String {
        let chat = presence.recipient().chat();
        what_was_shown(&PresenceSent::new(chat, &presence))
    }

    #[test]
    fn an_answer_says_for_how_long_and_that_no_message_was_sent() {
        let to = || "14155550123".parse::<Recipient>().unwrap();
        let rows = [
            (
                ChatPresence::typing(to(), Hold::from_secs(5)),
                "The chat 14155550123@s.whatsapp.net shows \"typing…\" for 5 seconds from now; then it ends by \
                 itself. No message was sent.",
            ),
            (
                ChatPresence::recording(to(), None),
                "The chat 14155550123@s.whatsapp.net shows \"recording audio…\" once; phones hide it after 5 to 10 \
                 seconds. No message was sent.",
            ),
            (
                ChatPresence::pause(to()),
                "The chat 14155550123@s.whatsapp.net shows no indicator any more. No message was sent.",
            ),
        ];
        for (presence, expected) in rows {
            assert_eq!(words(presence), expected);
        }
    }
}
