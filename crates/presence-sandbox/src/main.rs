//! The sandbox as a program: the edge and the control API on one loopback port.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use presence_sandbox::Sandbox;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A WhatsApp on loopback, with simulated phones, for tests and demos.
///
/// Prints one line of JSON when it is ready: `edge_url` and `edge_key` are what a client needs to connect,
/// `edge_root` signed its certificates, `control_url` is where the control API is; `GET /` there lists its routes. SIGINT or SIGTERM ends it.
#[derive(Debug, Parser)]
#[command(name = "presence-sandbox", version)]
struct Args {
    /// Loopback address to listen on. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9800", value_parser = loopback)]
    listen: SocketAddr,

    /// How long a phone shows an indicator that is not renewed, in seconds; fractions are fine.
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    expire_after: Duration,

    /// How many devices one phone can link.
    #[arg(long, value_name = "N", default_value = "4")]
    max_devices: NonZeroUsize,

    /// Remember devices and what was set in this file, so that the sandbox can be started again.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Give everybody a LID, as WhatsApp does.
    #[arg(long)]
    lids: bool,

    /// Tell linked devices the account's name by app state too.
    #[arg(long)]
    app_state: bool,

    /// Give the devices that are linked no name.
    #[arg(long)]
    nameless: bool,

    /// Print a service's two settings as environment variables, in place of the line of JSON.
    #[arg(long)]
    print_env: bool,

    /// How long after a device confirmed that it was linked it is registered, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "0", value_parser = millis)]
    register_after_ms: Duration,

    /// How long after that it is told to connect again, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "400", value_parser = millis)]
    restart_after_ms: Duration,

    /// How long a connection that it ended stays open unless the client closes it, in milliseconds.
    #[arg(long, value_name = "MS", default_value = "100", value_parser = millis)]
    hang_up_after_ms: Duration,

    /// Tell the devices that are linked that the account's chats have moved to LIDs.
    #[arg(long)]
    lid_migrated: bool,
}

/// The line that says that the sandbox is ready.
#[derive(Serialize)]
struct Ready {
    edge_url: Option<String>,
    edge_key: String,
    edge_root: String,
    control_url: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    // Before it is ready, so that no signal after that ends it the hard way.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut builder = Sandbox::builder();
    if let Some(file) = args.state {
        builder = builder.state(file);
    }
    let sandbox = builder
        .listen(args.listen)
        .expire_after(args.expire_after)
        .max_devices(args.max_devices.get())
        .lid_migrated(args.lid_migrated)
        .nameless(args.nameless)
        .lids(args.lids)
        .app_state(args.app_state)
        .register_after(args.register_after_ms)
        .restart_after(args.restart_after_ms)
        .hang_up_after(args.hang_up_after_ms)
        .start()
        .await
        .map_err(|error| anyhow::anyhow!("cannot start on {}: {error}", args.listen))?;
    announce(&sandbox, args.print_env)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("ending");
    sandbox.stop().await;
    Ok(())
}

fn announce(sandbox: &Sandbox, print_env: bool) -> io::Result<()> {
    let ready = Ready {
        edge_url: sandbox.edge_url(),
        edge_key: BASE64_STANDARD.encode(sandbox.edge_key()),
        edge_root: BASE64_STANDARD.encode(sandbox.edge_root()),
        control_url: sandbox.control_url(),
    };
    let line = if print_env {
        let url = ready.edge_url.as_deref().unwrap_or_default();
        format!("PRESENCE_EDGE_URL={url}\nPRESENCE_EDGE_KEY={}", ready.edge_key)
    } else {
        serde_json::to_string(&ready)?
    };
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "not an address such as 127.0.0.1:9800".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the sandbox obeys whoever reaches it, so it listens on loopback addresses only".to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let time = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero() && *time <= Duration::from_secs(3600))
        .ok_or_else(|| "not a number of seconds, more than 0 and at most 3600".to_owned())
}

fn millis(text: &str) -> Result<Duration, String> {
    let millis = text.parse().ok().filter(|millis| *millis <= 60_000);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "not a whole number of milliseconds, at most 60000".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn only_loopback_addresses_are_listened_on() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("[::1]:9800").is_ok());
        for text in ["0.0.0.0:9800", "192.168.1.1:9800", "[::]:0", "localhost"] {
            assert!(loopback(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "NaN", "inf", "1e9", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
