//! The `presence-server` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    presence_server::cli::run()
}
