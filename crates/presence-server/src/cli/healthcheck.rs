//! `presence-server healthcheck`, for containers and supervisors.

use clap::Args;
use hyper::{Method, StatusCode};

use super::api::{Api, ServerArgs};
use super::output::{block_on, say};

#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: HealthcheckArgs) -> anyhow::Result<()> {
    block_on(async {
        let health = Api::open(args.server)
            .call(Method::GET, &["health"], &[], None)
            .await?;
        say(&health.body.text)?;
        anyhow::ensure!(health.status == StatusCode::OK, "the server is not well");
        Ok(())
    })
}
