//! Which records a command is about: those of a data directory, or of a database that several nodes share.

use anyhow::Context;
use clap::Args;
use presence_store::{DataDir, FOLLOWED_WITHIN, KeySource, Postgres, PostgresOptions, Store};
use tokio::time::sleep;

use super::data_dir::DataDirArgs;
use super::secret_value::SecretValue;
use crate::config::{cluster, settings};

#[derive(Debug, Args)]
pub(super) struct RecordsArgs {
    #[command(flatten)]
    data_dir: DataDirArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct DatabaseArgs {
    /// The database that several nodes share, instead of a data directory.
    #[arg(
        long,
        global = true,
        env = settings::DATABASE_URL.variable,
        value_name = "URL",
        value_parser = SecretValue(cluster::database_url),
        hide_env_values = true
    )]
    database_url: Option<String>,
}

/// The records, opened.
pub(super) struct Records {
    pub(super) store: Store,
    kept: Kept,
}

enum Kept {
    In(DataDir),
    At(Postgres),
}

/// A command needs one after the other.
const CONNECTIONS: u32 = 2;

impl RecordsArgs {
    /// Opens what there is, without the key that instances' tokens are sealed with.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub(super) async fn open_existing(&self) -> anyhow::Result<Records> {
        self.open_with(DataDirArgs::open_existing).await
    }

    /// The same; a data directory is made when there is none.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) async fn open(&self) -> anyhow::Result<Records> {
        self.open_with(DataDirArgs::open).await
    }

    async fn open_with(
        &self,
        data_dir: impl FnOnce(&DataDirArgs) -> anyhow::Result<DataDir>,
    ) -> anyhow::Result<Records> {
        if let Some(database) = self.database.connect().await? {
            return Ok(Records {
                store: database.open_registry(None).await?,
                kept: Kept::At(database),
            });
        }
        let dir = data_dir(&self.data_dir)?;
        Ok(Records {
            store: Store::open(&dir, KeySource::Absent).await?,
            kept: Kept::In(dir),
        })
    }
}

impl DatabaseArgs {
    /// Connects; `None` when no database is named.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub(super) async fn connect(&self) -> anyhow::Result<Option<Postgres>> {
        let Some(url) = self.database_url.clone().filter(|url| !url.trim().is_empty()) else {
            return Ok(None);
        };
        let options = PostgresOptions {
            url,
            listen_url: None,
            connections: CONNECTIONS,
        };
        let database = Postgres::connect(&options).await;
        Ok(Some(database.context("cannot open the database")?))
    }
}

impl Records {
    /// Returns when a server that uses them knows what was written, so that a token that is printed works. Nodes look
    /// again before they refuse a token that they do not know.
    pub(super) async fn are_followed(&self) {
        if let Kept::In(dir) = &self.kept
            // Held by nobody, it is free again at once.
            && dir.lock().is_err()
        {
            sleep(FOLLOWED_WITHIN).await;
        }
    }

    /// Lets go of them.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.store.close().await?;
        if let Kept::At(database) = self.kept {
            database.close().await;
        }
        Ok(())
    }
}
