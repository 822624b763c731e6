//! The HTTP of Presence: the contract's routes, from a connection's bytes to the answer.
//!
//! [`Server`] serves [`Instances`], which are any registry and any WhatsApp client, over any byte stream.
//! `presence-server` hands it listeners, a data directory and the operator's [`HttpSettings`]; tests hand it pipes.
//!
//! What a presence means is decided in `presence-core`, carried out by `presence-wa`, and who may ask for it is
//! kept by `presence-store`. Here is what a client sees of them.

mod app;
mod auth;
mod client_address;
mod clock;
mod connection;
mod connections;
mod cors;
mod display_status;
mod error;
mod health;
mod http;
mod instances;
mod json;
mod metrics;
mod qr;
mod rate_limit;
mod registry_check;
mod request_id;
mod routes;
mod server;
mod settings;
mod task_panics;
mod throttle;

pub use clock::utc_now;
pub use health::{Finding, HealthCheck};
pub use instances::Instances;
pub use ipnet::IpNet;
pub use qr::{Picture, PictureError};
pub use server::Server;
pub use settings::{HttpSettings, Limits};
pub use task_panics::TaskPanics;
