//! The Presence service: HTTP in, WhatsApp chat states out.
//!
//! The binary calls [`cli::run`]. Tests, and programs that embed the service, use [`Service`], which owns a
//! data directory, or [`Server`], which serves any registry and fleet over any byte stream.
//!
//! What a presence means is decided in `presence-core`, carried out by `presence-wa`, and who may ask for it is
//! kept by `presence-store`. Here is only what connects them: configuration, routes, handlers, the command line.

mod app;
mod auth;
pub mod cli;
mod clock;
mod config;
mod cors;
mod error;
mod http;
mod json;
mod metrics;
mod polite;
mod qr;
mod rate_limit;
mod routes;
mod serve;
mod sessions;
mod start;

pub use config::{Config, ConfigError, HttpSettings, LogFormat};
pub use rate_limit::Limits;
pub use serve::Server;
pub use start::Service;
