//! The HTTP of Presence: the contract's routes, from a connection's bytes to the answer.
//!
//! [`Server`] serves [`Instances`], which are any registry and any WhatsApp client, over any byte stream.
//! `presence-server` hands it listeners, a data directory and the operator's [`HttpSettings`]; tests hand it pipes.
//!
//! ```
//! use presence_api::{HttpSettings, Server};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = Server::new(HttpSettings::default());
//! let (mut client, connection) = tokio::io::duplex(1024);
//! tokio::spawn(async move { server.serve_connection(connection, [127, 0, 0, 1].into()).await });
//!
//! // It has no instances yet, and says so.
//! client.write_all(b"GET /readyz HTTP/1.1\r\nconnection: close\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.ends_with("{\"status\":\"starting\"}\n"));
//! # Ok(())
//! # }
//! ```
//!
//! What a presence means is decided in `presence-core`, carried out by `presence-wa`, and who may ask for it is
//! kept by `presence-store`. Here is what a client sees of them.

mod agent_tools;
mod app;
mod auth;
mod body;
mod client_address;
mod clock;
mod compat;
mod connection;
mod connections;
mod cors;
mod display_status;
mod error;
mod events;
mod health;
mod http;
mod instances;
mod json;
mod metrics;
mod nodes;
mod pairing_links;
mod proxy;
mod qr;
mod rate_limit;
mod refusal_log;
mod registry_check;
mod request_id;
mod routes;
mod schema;
mod scope;
mod server;
mod settings;
mod task_panics;
mod throttle;
mod webhook;

pub use agent_tools::{AgentTools, Presences, ToolError, ToolInstance};
pub use clock::utc_now;
pub use compat::{CompatApi, UnknownApi};
pub use health::{CheckCounter, Finding, HealthCheck};
pub use http::openapi;
pub use instances::Instances;
pub use ipnet::IpNet;
pub use nodes::{ClusterSecret, DialNode, InvalidSecret as InvalidClusterSecret, Nodes};
pub use presence_wa::AllowedNetworks;
pub use proxy::RegistryProxies;
pub use qr::{Picture, PictureError};
pub use server::Server;
pub use settings::{HttpSettings, Limits};
pub use task_panics::TaskPanics;
pub use webhook::{InvalidSecret, InvalidWebhookUrl, Webhook, WebhookSecret, WebhookSettings, WebhookUrl};
