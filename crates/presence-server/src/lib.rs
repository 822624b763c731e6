//! The Presence service: HTTP in, WhatsApp chat states out.
//!
//! The binary calls [`cli::run`]. Programs that embed the service use [`Service`], which owns a data directory.
//!
//! Here is only what connects the other crates: configuration, the command line, listeners, start and stop. It
//! decides nothing. What clients see is `presence-api`'s, and what phones show is decided below that.

pub mod cli;
mod config;
mod data_dir;
mod file_handles;
mod logging;
mod start;

pub use config::{ClusterConfig, Config, ConfigError, InvalidListen, Listen, LogFormat};
pub use start::Service;
