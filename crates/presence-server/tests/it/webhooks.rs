//! Calls of webhooks, from the program to a receiver on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use presence_sandbox::Sandbox;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::program::{Data, Server, run};
use crate::{SHOP, TEST_TIMEOUT, phone};

const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What was called.
struct Call {
    id: String,
    body: Value,
}

/// Whom webhooks call.
struct Receiver {
    address: SocketAddr,
    /// What it answers.
    status: Arc<AtomicU16>,
    calls: mpsc::UnboundedReceiver<(Request<()>, Bytes)>,
    /// The message that was told last.
    told: Option<String>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(AtomicU16::new(200));
        let (sender, calls) = mpsc::unbounded_channel();
        let answer = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answer) = (sender.clone(), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (sender, answer) = (sender.clone(), Arc::clone(&answer));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let _ = sender.send((Request::from_parts(head, ()), body));
                        let response = Response::builder()
                            .status(answer.load(Ordering::Relaxed))
                            .header("location", "/elsewhere");
                        Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            status,
            calls,
            told: None,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next call, which is signed with `secret`.
    async fn call(&mut self, secret: &str) -> Call {
        let (head, body) = timeout(TEST_TIMEOUT, self.calls.recv()).await.unwrap().unwrap();
        assert_eq!(head.uri().path(), "/hook", "no redirect is followed");
        let field = |name: &str| head.headers()[name].to_str().unwrap().to_owned();
        let id = field("webhook-id");
        let signed = signature(secret, &id, &field("webhook-timestamp"), &body);
        assert_eq!(field("webhook-signature"), signed);
        Call {
            id,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }

    /// The states that the next calls tell of `shop`, up to `last`; each message once, however often it was tried.
    async fn states(&mut self, secret: &str, last: &str) -> Vec<String> {
        let mut states = Vec::new();
        while states.last().is_none_or(|state| state != last) {
            let Call { id, body } = self.call(secret).await;
            if self.told.replace(id.clone()) == Some(id) {
                continue;
            }
            assert_eq!(body["event"], "instance.state");
            assert_eq!(
                body["instanceData"],
                json!({"account": "acme", "instance": "shop"})
            );
            assert_eq!(body["data"]["name"], "shop");
            states.push(body["data"]["state"].as_str().unwrap().to_owned());
        }
        states
    }
}

/// As a receiver computes it.
fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(&[format!("{id}.{timestamp}.").as_bytes(), body].concat());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Runs `presence-server webhook …`.
async fn webhook(server: &Server, args: &[&str]) -> String {
    let access = ["--url", server.url(), "--token", server.token()];
    let end = run(&[&["webhook"], args, &access].concat()).await;
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    end.stdout.trim_end().to_owned()
}

#[tokio::test]
async fn the_operator_and_the_account_are_told_what_becomes_of_an_instance() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let (mut operators, mut accounts) = (Receiver::start().await, Receiver::start().await);
    let data = Data::new();
    let file = format!("{}/../webhook-{}.secret", data.path(), operators.address.port());
    std::fs::write(&file, SECRET).unwrap();
    let settings = [
        "--webhook-url",
        &operators.url(),
        "--webhook-secret-file",
        &file,
        "--webhook-networks",
        "127.0.0.1",
        "--metrics",
        "on",
    ];
    let server = data.serve_and(&sandbox, &settings).await;
    std::fs::remove_file(&file).unwrap();

    assert_eq!(webhook(&server, &["show"]).await, "the account has no webhook");
    let secret = webhook(&server, &["set", &accounts.url()]).await;
    assert_eq!(webhook(&server, &["show"]).await, accounts.url());

    assert_eq!(
        server.post("/api/instance/new", json!({"name": "shop"})).await.0,
        201
    );
    let (_, connect) = server.get("/api/instance/connect/shop").await;
    let code = connect["qrCode"].as_str().unwrap();
    sandbox.scan(phone(SHOP), code).await.unwrap();
    for (receiver, secret) in [(&mut operators, SECRET), (&mut accounts, secret.as_str())] {
        let states = receiver.states(secret, "connected").await;
        assert_eq!(states[0], "connecting", "{states:?}");
    }

    // While the receiver refuses, it is asked again with the same message, and gets what follows in order.
    operators.status.store(307, Ordering::Relaxed);
    let delete = |path: &'static str| server.call("DELETE", path, server.token(), Value::Null);
    assert_eq!(delete("/api/instance/logout/shop").await.unwrap().0, 200);
    assert_eq!(delete("/api/instance/delete/shop").await.unwrap().0, 200);
    let refused = operators.call(SECRET).await;
    assert_eq!(refused.body["data"]["state"], "loggedout");
    operators.status.store(204, Ordering::Relaxed);
    let again = operators.call(SECRET).await;
    assert_eq!((&again.id, again.body), (&refused.id, refused.body));
    operators.told = Some(again.id);
    assert_eq!(operators.states(SECRET, "deleted").await, ["deleted"]);
    assert_eq!(
        accounts.states(&secret, "deleted").await,
        ["loggedout", "deleted"]
    );
    let metrics = server.text("/metrics").await;
    assert!(
        !metrics.contains("presence_webhook_deliveries_total{outcome=\"refused\"} 0"),
        "{metrics}"
    );

    // Removed, it is called no more; the operator's own is.
    webhook(&server, &["remove"]).await;
    assert_eq!(
        server.post("/api/instance/new", json!({"name": "shop"})).await.0,
        201
    );
    server.get("/api/instance/connect/shop").await;
    operators.call(SECRET).await;
    assert!(accounts.calls.try_recv().is_err());

    let end = {
        server.signal("TERM");
        server.end().await
    };
    for hidden in [SECRET, &secret, "/hook", SHOP] {
        assert!(
            !end.stderr.contains(hidden),
            "{hidden} is in the log:\n{}",
            end.stderr
        );
    }
    assert_eq!(
        end.stderr.matches("the webhook cannot be called").count(),
        1,
        "{}",
        end.stderr
    );
    assert_eq!(
        end.stderr.matches("the webhook is called again").count(),
        1,
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn an_accounts_webhook_is_not_called_where_the_operator_allows_none() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let mut receiver = Receiver::start().await;
    let server = Data::new().serve(&sandbox).await;
    webhook(&server, &["set", &receiver.url()]).await;
    assert_eq!(
        server.post("/api/instance/new", json!({"name": "shop"})).await.0,
        201
    );
    server.get("/api/instance/connect/shop").await;
    server.wait_for_log(r#"reason="forbidden""#).await;
    assert!(receiver.calls.try_recv().is_err());
}
