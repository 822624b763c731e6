//! The tools for AI agents, called by the protocol's own client: over stdin and stdout, and over HTTP.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use presence_sandbox::Sandbox;
use rmcp::model::{CallToolRequestParams, ClientJsonRpcMessage};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use rmcp::{RoleClient, ServiceExt as _};
use serde_json::{Value, json};
use sse_stream::{Error as SseError, Sse};
use tokio::process::Command;

use crate::program::{Data, Server};
use crate::{CUSTOMER, TEST_TIMEOUT, phone, wait_for};

/// A client of the protocol.
type Agent = RunningService<RoleClient, ()>;

/// HTTP as the protocol's client wants it, without streams: the service has none.
#[derive(Clone)]
struct Http(Client<HttpConnector, Full<Bytes>>);

type HttpError = StreamableHttpError<hyper_util::client::legacy::Error>;

impl StreamableHttpClient for Http {
    type Error = hyper_util::client::legacy::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        _: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let body = serde_json::to_vec(&message)?;
        let mut request = Request::post(&*uri)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(token) = auth_header {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in custom_headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = self
            .0
            .request(request)
            .await
            .map_err(StreamableHttpError::Client)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        match status.as_u16() {
            202 => Ok(StreamableHttpPostResponse::Accepted),
            200 => Ok(StreamableHttpPostResponse::Json(
                serde_json::from_slice(&body)?,
                None,
            )),
            status => {
                let text = format!("{status} {}", String::from_utf8_lossy(&body));
                Err(StreamableHttpError::UnexpectedServerResponse(text.into()))
            }
        }
    }

    async fn delete_session(
        &self,
        _: Arc<str>,
        _: Arc<str>,
        _: Option<String>,
        _: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), HttpError> {
        Err(StreamableHttpError::ServerDoesNotSupportDeleteSession)
    }

    async fn get_stream(
        &self,
        _: Arc<str>,
        _: Option<Arc<str>>,
        _: Option<String>,
        _: Option<String>,
        _: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, HttpError> {
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

/// An agent over HTTP, with `token` as a bearer.
async fn over_http(server: &Server, token: &str) -> Result<Agent, String> {
    let client = Http(Client::builder(TokioExecutor::new()).build_http());
    let config =
        StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", server.url())).auth_header(token);
    let transport = StreamableHttpClientTransport::with_client(client, config);
    ().serve(transport).await.map_err(|error| format!("{error:?}"))
}

/// An agent that starts `presence-server mcp`, with `token` in its environment.
async fn over_stdio(server: &Server, token: &str) -> Agent {
    let mut program = Command::new(env!("CARGO_BIN_EXE_presence-server"))
        .arg("mcp")
        .env("PRESENCE_URL", server.url())
        .env("PRESENCE_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let transport = (program.stdout.take().unwrap(), program.stdin.take().unwrap());
    // It ends by itself when its stdin is closed.
    tokio::spawn(async move { assert!(program.wait().await.unwrap().success()) });
    ().serve(transport).await.unwrap()
}

/// Calls a tool: whether it did it, and its words.
async fn call(agent: &Agent, tool: &'static str, arguments: Value) -> (bool, String) {
    let Value::Object(arguments) = arguments else {
        panic!("arguments are an object")
    };
    let call = CallToolRequestParams::new(tool).with_arguments(arguments);
    let result = tokio::time::timeout(TEST_TIMEOUT, agent.call_tool(call)).await;
    let result = result.expect("it is answered").unwrap();
    let text = result.content[0].as_text().expect("a text").text.clone();
    (result.is_error != Some(true), text)
}

/// What every agent can do, whatever connects it.
async fn works(agent: &Agent, sandbox: &Sandbox) {
    let info = agent.peer_info().expect("it said who it is");
    assert!(
        info.instructions
            .as_ref()
            .unwrap()
            .contains("never sends a message")
    );
    let tools = agent.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.to_string()).collect();
    assert_eq!(names, ["show_typing", "show_recording", "stop", "list_instances"]);
    for tool in &tools[..3] {
        let description = tool.description.as_ref().unwrap();
        assert!(description.contains("sends no message"), "{description}");
    }

    let (_, listed) = call(agent, "list_instances", json!({})).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["instances"][0]["name"], &listed["instances"][0]["state"]),
        (&json!("shop"), &json!("connected"))
    );
    // The only instance there is need not be named.
    let rows = [
        (
            "show_typing",
            json!({"number": "+1 415 555-0123", "duration": 60}),
            "typing…",
        ),
        (
            "show_recording",
            json!({"number": CUSTOMER, "instance": "shop"}),
            "recording audio…",
        ),
    ];
    for (tool, arguments, what) in rows {
        let before = sandbox.timeline(phone(CUSTOMER)).len();
        let (done, words) = call(agent, tool, arguments.clone()).await;
        let seconds = arguments["duration"].as_u64().unwrap_or(10);
        let expected = format!(
            "The chat {CUSTOMER}@s.whatsapp.net shows \"{what}\" for {seconds} seconds from now; then it ends by \
             itself. No message was sent."
        );
        assert_eq!((done, words), (true, expected));
        wait_for(sandbox, |world| {
            world.shown(phone(CUSTOMER)).timeline.len() > before
        })
        .await;
        let (done, words) = call(agent, "stop", json!({"number": CUSTOMER})).await;
        let expected =
            format!("The chat {CUSTOMER}@s.whatsapp.net shows no indicator any more. No message was sent.");
        assert_eq!((done, words), (true, expected));
        wait_for(sandbox, |world| {
            let timeline = world.shown(phone(CUSTOMER)).timeline;
            timeline.iter().all(|spell| spell.hidden_at.is_some())
        })
        .await;
    }
    let refusals = [
        (json!({}), "Number is required"),
        (
            json!({"number": "secret"}),
            "Invalid number. Use a phone number with country code, or a JID",
        ),
        (
            json!({"number": CUSTOMER, "duration": []}),
            "Invalid request body",
        ),
        (
            json!({"number": CUSTOMER, "instance": "nobody"}),
            "Instance not found",
        ),
        (
            json!({"number": CUSTOMER, "instance": 7}),
            "instance must be a string",
        ),
    ];
    for (arguments, expected) in refusals {
        let (done, words) = call(agent, "show_typing", arguments.clone()).await;
        assert!(!done && words.starts_with(expected), "{arguments}: {words}");
        assert!(!words.contains("secret"), "{words}");
    }
    let unknown = agent.call_tool(CallToolRequestParams::new("send_message")).await;
    assert!(unknown.is_err());
}

#[tokio::test]
async fn an_agent_uses_the_tools_over_stdin_and_stdout_and_over_http() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let data = Data::new();
    let server = data.serve_with_shop_and(&sandbox, &["--mcp", "on"]).await;
    works(&over_stdio(&server, server.token()).await, &sandbox).await;
    works(&over_http(&server, server.token()).await.unwrap(), &sandbox).await;

    // What the protocol refuses says in which form.
    let request = Request::post(format!("{}/mcp", server.url())).header("token", server.token());
    let request = request.body(Full::new(bytes::Bytes::from_static(b"{}"))).unwrap();
    let refused = Client::builder(TokioExecutor::new())
        .build_http()
        .request(request)
        .await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), 406);
    assert_eq!(refused.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");

    // Of several, one has to be named; a token of an instance reaches that one only.
    let (_, branch) = server.post("/api/instance/new", json!({"name": "branch"})).await;
    let branch = branch["instance"]["token"].as_str().unwrap();
    for agent in [
        over_stdio(&server, server.token()).await,
        over_http(&server, server.token()).await.unwrap(),
    ] {
        let (done, words) = call(&agent, "show_typing", json!({"number": CUSTOMER})).await;
        assert!(!done && words.contains("name one in `instance`"), "{words}");
    }
    for agent in [
        over_stdio(&server, branch).await,
        over_http(&server, branch).await.unwrap(),
    ] {
        let (done, words) = call(&agent, "show_typing", json!({"number": CUSTOMER})).await;
        assert_eq!(
            (done, words.as_str()),
            (false, "Instance is not connected to WhatsApp")
        );
        let other = json!({"number": CUSTOMER, "instance": "shop"});
        let (done, words) = call(&agent, "show_typing", other).await;
        assert_eq!(
            (done, words.as_str()),
            (false, "Instance token does not match instance")
        );
    }
}

#[tokio::test]
async fn mcp_over_http_is_off_by_default_and_needs_a_token_and_counts_against_its_limit() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let off = Data::new().serve(&sandbox).await;
    assert_eq!(off.post("/mcp", json!({})).await.0, 404);

    let data = Data::new();
    let server = data
        .serve_and(&sandbox, &["--mcp", "on", "--rate-limit", "5"])
        .await;
    let refused = over_http(&server, "wrong").await.unwrap_err();
    assert!(
        refused.contains("401") && refused.contains("Invalid token"),
        "{refused}"
    );
    assert_eq!(server.get("/mcp").await.0, 405);
    let agent = over_http(&server, server.token()).await.unwrap();
    let mut refused = None;
    for _ in 0..6 {
        if let Err(error) = agent.list_all_tools().await {
            refused = Some(format!("{error:?}"));
            break;
        }
    }
    let refused = refused.expect("the limit is reached");
    assert!(refused.contains("Rate limit exceeded"), "{refused}");
    // Nothing here waits longer than a test may.
    let _ = tokio::time::timeout(Duration::from_secs(5), agent.cancel()).await;
}

#[tokio::test]
async fn without_a_token_the_program_says_so() {
    let end = crate::program::run(&["mcp"]).await;
    assert_eq!((end.code, end.stdout.as_str()), (Some(1), ""));
    assert!(end.stderr.contains("PRESENCE_TOKEN"), "{}", end.stderr);
}
