//! `presence-server serve`.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, FromArgMatches};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::{Exit, complain, say};
use crate::config::unknown::unknown_variables;
use crate::config::{Config, settings};
use crate::logging::Log;
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
    let log = Log::start(&config);
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for unknown in unknown_variables(variables) {
        tracing::warn!("{unknown}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), Exit::Failure),
    };
    let exit = runtime.block_on(serve(config, &log));
    // Everything of ours has ended; what a library may have left running must not hold up the end.
    runtime.shutdown_background();
    exit
}

async fn serve(config: Config, log: &Log) -> ExitCode {
    match try_to_serve(config, log).await {
        Ok(exit) => exit,
        Err(error) => complain(&format!("{error:#}"), Exit::Failure),
    }
}

async fn try_to_serve(config: Config, log: &Log) -> anyhow::Result<ExitCode> {
    // First of all: from its first moment on, the process can be asked to stop.
    let mut stops = StopSignals::listen()?;
    let console = config.http.console;
    let service = Service::bind(config).await?;
    service.watch(Arc::new(log.check()));
    let (address, probes) = (service.address()?, service.probe_address()?);
    tracing::info!(%address, probes = probes.map(tracing::field::display), "starting");
    let ready = || {
        say(format_args!("listening on http://{address}"))?;
        if console {
            tracing::info!("the console is at http://{address}/console");
        }
        tracing::info!(%address, version = env!("PRESENCE_VERSION"), "ready");
        Ok(())
    };

    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let running = service.run(
        async {
            let _ = stopping.await;
        },
        ready,
    );
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => ended?,
        name = stops.next() => {
            tracing::info!(signal = name, "stopping; another signal ends it at once");
            let _ = stop.send(());
            tokio::select! {
                ended = &mut running => ended?,
                name = stops.next() => {
                    tracing::warn!(signal = name, "stopped at once: indicators may hang until phones hide them");
                    return Ok(Exit::Failure.into());
                }
            }
        }
        () = log.tell_of_losses() => {}
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM, SIGINT, and SIGHUP: that the terminal is gone is no reason to leave indicators hanging.
struct StopSignals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.hangup.recv() => "SIGHUP",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
