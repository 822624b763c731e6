//! Which data directory a command is about.

use std::path::PathBuf;

use clap::Args;
use presence_store::DataDir;

use crate::config::settings;
use crate::data_dir;

#[derive(Debug, Args)]
pub(super) struct DataDirArgs {
    /// The data directory of the server.
    #[arg(long, global = true, env = settings::DATA_DIR.variable, value_name = "DIR", default_value = "data")]
    data_dir: PathBuf,
}

impl DataDirArgs {
    pub(super) fn open(&self) -> anyhow::Result<DataDir> {
        data_dir::open(&self.data_dir)
    }

    pub(super) fn open_existing(&self) -> anyhow::Result<DataDir> {
        data_dir::open_existing(&self.data_dir)
    }
}
