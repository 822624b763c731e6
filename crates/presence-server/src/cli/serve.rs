//! `presence-server serve`.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{ArgMatches, Args, FromArgMatches};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Exit, complain, say};
use crate::config::{Config, LogFormat, settings};
use crate::start::Service;

/// The settings as texts, by their variable; flag, environment or default, in this order.
#[derive(Clone, Debug, Default)]
pub(super) struct ServeArgs(HashMap<&'static str, String>);

impl ServeArgs {
    pub(super) fn lookup(&self, variable: &str) -> Option<String> {
        self.0.get(variable).cloned()
    }
}

impl Args for ServeArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(settings::ALL.map(settings::Setting::arg))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in settings::ALL {
            if let Some(value) = matches.get_one::<String>(setting.variable) {
                self.0.insert(setting.variable, value.clone());
            }
        }
        Ok(())
    }
}

pub(super) fn run(args: &ServeArgs) -> ExitCode {
    let config = match Config::from_lookup(|variable| args.lookup(variable)) {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string(), Exit::Usage),
    };
    start_logging(&config);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), Exit::Failure),
    };
    let exit = runtime.block_on(serve(config));
    // Everything of ours has ended; what a library may have left running must not hold up the end.
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config) -> ExitCode {
    match try_to_serve(config).await {
        Ok(exit) => exit,
        Err(error) => complain(&format!("{error:#}"), Exit::Failure),
    }
}

async fn try_to_serve(config: Config) -> anyhow::Result<ExitCode> {
    // Before the ready line: whoever reads it may send a signal at once.
    let mut stops = StopSignals::listen()?;
    let service = Service::start(config).await?;
    let address = service.address()?;
    say(format_args!("listening on http://{address}"))?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ready");

    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let running = service.run(async {
        let _ = stopping.await;
    });
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => {}
        name = stops.next() => {
            tracing::info!(signal = name, "stopping; another signal ends it at once");
            let _ = stop.send(());
            tokio::select! {
                () = &mut running => {}
                name = stops.next() => {
                    tracing::warn!(signal = name, "stopped at once: indicators may hang until phones hide them");
                    return Ok(Exit::Failure.into());
                }
            }
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Logs to stderr. The WhatsApp client's own log, which names phone numbers and codes, stays off unless the
/// operator's filter names its targets.
fn start_logging(config: &Config) {
    let filter = EnvFilter::new(format!("{},{}", presence_wa::QUIET_CLIENT, config.log));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
