//! What `cargo xtask bench` starts beside the service: servers that only parse and answer the same JSON, and the
//! indicators by themselves.

mod answer;
mod axum_server;
mod hyper_server;
mod indicators;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use clap::Parser;
use tokio::net::TcpListener;

/// Helpers of the benchmark.
#[derive(Parser)]
enum Helper {
    /// Parses and answers presences with hyper alone, on a free port that its first line tells.
    Hyper,
    /// Parses and answers presences with axum alone, on a free port that its first line tells.
    Axum,
    /// Measures the indicators of sessions, and prints what they cost as JSON.
    Indicators(indicators::Indicators),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Helper::parse() {
        Helper::Hyper => hyper_server::serve(listen().await?).await,
        Helper::Axum => axum_server::serve(listen().await?).await,
        Helper::Indicators(indicators) => say(&serde_json::to_string(&indicators.measure()?)?),
    }
}

async fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    say(&format!("listening on http://{}", listener.local_addr()?))?;
    Ok(listener)
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
