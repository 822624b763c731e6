//! The command line. What each command does is in the module of its name.

mod account;
mod api;
mod backup;
mod confirm;
mod data_dir;
mod devices;
mod healthcheck;
mod instance;
mod key;
mod mcp;
mod migrate;
mod output;
mod pair;
mod records;
mod restore;
mod secret_value;
mod send;
mod serve;
mod settings;
mod shell;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::output::{Exit, finish};

/// Shows typing… and recording… on WhatsApp, over HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "presence-server",
    version = env!("PRESENCE_VERSION"),
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or SIGINT.
    ///
    /// When it is ready, one line `listening on http://ADDR` is written to stdout. Logs go to stderr. On the
    /// first signal, requests finish, indicators are paused and sessions closed; a second one ends it at once.
    Serve(serve::ServeArgs),
    /// Manage accounts, in the data directory or the database. A running server notices within a second.
    Account(account::AccountArgs),
    /// Manage instances, through a running server.
    Instance(instance::InstanceArgs),
    /// Show typing… or recording… in a chat, or end it, through a running server.
    Send(send::SendArgs),
    /// List what an instance shows now, through a running server.
    Shown(send::ShownArgs),
    /// Read or change the settings of an instance, through a running server.
    Settings(settings::SettingsArgs),
    /// Read or change where the account is told how its instances are, through a running server.
    Webhook(webhook::WebhookArgs),
    /// Copy everything that a server must not lose, while it runs or not.
    ///
    /// The copy is of one moment, and checked before it takes its name. It is itself a data directory; never start
    /// a server on it while another one runs with the same keys.
    Backup(backup::BackupArgs),
    /// Put a back-up in the place of what is in the data directory.
    ///
    /// Everything is checked first. It refuses to lose an account, an instance or the link of a phone that the
    /// directory has and the back-up has not, and it keeps the files that it replaces. No server may run there.
    Restore(restore::RestoreArgs),
    /// Move everything from a data directory into a database that several nodes share, or back.
    ///
    /// Sessions move too, and stay linked. The target must be empty. All of it is moved, or nothing, and what it was
    /// moved from stays as it is; nothing may run on it any more.
    Migrate(migrate::MigrateArgs),
    /// Manage the key that instance tokens are sealed with, in the data directory.
    Key(key::KeyArgs),
    /// Manage the device keys of WhatsApp sessions, in the data directory.
    Devices(devices::DevicesArgs),
    /// Offer the presences of a running server to an AI agent, as an MCP server on stdin and stdout.
    ///
    /// An agent program starts it; the manual of the API has its configuration for some of them.
    Mcp(mcp::McpArgs),
    /// Print a script for a shell that completes commands and flags.
    Completions(shell::CompletionsArgs),
    /// Write the manual: a page for each command.
    Man(shell::ManArgs),
    /// Ask a running server whether it is well: exit code 0 when it is, 1 when not.
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn run() -> ExitCode {
    run_with(std::env::args_os())
}

fn run_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, and go to stdout; mistakes do not.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Account(args) => finish(account::run(args)),
        Command::Instance(args) => finish(instance::run(args)),
        Command::Send(args) => finish(send::run(args)),
        Command::Shown(args) => finish(send::run_shown(args)),
        Command::Settings(args) => finish(settings::run(args)),
        Command::Webhook(args) => finish(webhook::run(args)),
        Command::Backup(args) => finish(backup::run(args)),
        Command::Restore(args) => finish(restore::run(args)),
        Command::Migrate(args) => finish(migrate::run(args)),
        Command::Key(args) => finish(key::run(args)),
        Command::Devices(args) => finish(devices::run(args)),
        Command::Mcp(args) => finish(mcp::run(args)),
        Command::Completions(args) => finish(shell::completions(&args)),
        Command::Man(args) => finish(shell::man(&args)),
        Command::Healthcheck(args) => finish(healthcheck::run(args)),
    }
}

#[cfg(test)]
mod tests {
    //! How arguments are understood.

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_serve_serves() {
        let cli = Cli::try_parse_from(["presence-server", "serve", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(matches!(cli.command, Command::Serve(args) if args.lookup("PRESENCE_LISTEN").is_some()));
        let alone = Cli::try_parse_from(["presence-server"]).unwrap_err();
        assert!(
            alone.to_string().contains("Usage: presence-server <COMMAND>"),
            "{alone}"
        );
    }

    #[test]
    fn a_token_may_begin_with_a_hyphen_and_flags_stand_where_people_put_them() {
        for args in [
            ["instance", "list", "--token", "-2abc", "--url", "localhost:1"],
            ["instance", "--token", "-2abc", "--url", "localhost:1", "list"],
            ["account", "--data-dir", "x", "rotate", "acme", "--json"],
            ["key", "--data-dir", "x", "rotate", "--data-dir", "y"],
        ] {
            let args = std::iter::once("presence-server").chain(args);
            Cli::try_parse_from(args).unwrap();
        }
    }

    #[test]
    fn help_shows_each_setting_with_its_variable_and_default() {
        let mut cli = Cli::command();
        let help = cli
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        for setting in crate::config::settings::ALL {
            assert!(
                help.contains(&format!("--{} <", setting.flag)),
                "{} in\n{help}",
                setting.flag
            );
            assert!(
                help.contains(&format!("[env: {}", setting.variable)),
                "{} in\n{help}",
                setting.variable
            );
        }
        assert!(help.contains("[default: 127.0.0.1:8080]"), "{help}");
    }
}
