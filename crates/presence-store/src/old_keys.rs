//! The file of device keys of earlier versions, which the WhatsApp client made, and how `keys.db` takes its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use presence_core::InstanceId;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::data_dir::DataDir;
use crate::error::StoreError;
use crate::files;
use crate::key_store::SqliteKeyStore;
use crate::sqlite::failed;

/// A `devices.db` whose keys are still to be taken over. No session may be opened before it is
/// [retired](Self::retire).
///
/// A crash at any moment means beginning again: what was copied is copied over, until the file is put aside, and
/// `keys.db` knows from then on that it has taken its place.
#[derive(Debug)]
pub struct OldKeys {
    path: PathBuf,
}

impl DataDir {
    /// The device keys of an earlier version, if they are still to be taken over into `keys`.
    ///
    /// # Errors
    /// [`StoreError::TwoKeyFiles`] when `keys` has taken their place before: then somebody has put an old file
    /// back, and to read it could undo what sessions have done since.
    pub async fn old_keys(&self, keys: &SqliteKeyStore) -> Result<Option<OldKeys>, StoreError> {
        let path = self.path().join("devices.db");
        let found = path.try_exists().map_err(|source| StoreError::File {
            doing: "look for devices.db",
            source,
        })?;
        match (found, keys.is_successor().await?) {
            (false, true) => Ok(None),
            (true, true) => Err(StoreError::TwoKeyFiles),
            (true, false) => Ok(Some(OldKeys { path })),
            // There was none, or it was put aside a moment before a crash.
            (false, false) => {
                keys.set_successor().await?;
                Ok(None)
            }
        }
    }
}

impl OldKeys {
    /// The file, for the adapter over the client to read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file aside as `devices.db.imported`, when everything in it was appended to `keys`.
    ///
    /// # Errors
    /// When the files cannot be written; then all of it has to be done again.
    pub async fn retire(self, keys: &SqliteKeyStore) -> Result<(), StoreError> {
        // Without a log, the file is all there is to put aside.
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .journal_mode(SqliteJournalMode::Delete)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(failed(READ))?;
        for (instance, number) in pairing_numbers(&mut connection).await.map_err(failed(READ))? {
            keys.set_pairing_number(instance, number).await?;
        }
        connection.close().await.map_err(failed(READ))?;
        // Everything that was appended is on the disk before its source is gone.
        keys.check().await?;
        let aside = self.path.with_extension("db.imported");
        files::rename(&self.path, &aside).map_err(|source| StoreError::File {
            doing: "put devices.db aside",
            source,
        })?;
        keys.set_successor().await
    }
}

/// None where none was ever noted.
async fn pairing_numbers(connection: &mut SqliteConnection) -> sqlx::Result<BTreeMap<InstanceId, u32>> {
    let noted: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'presence_pairing')")
            .fetch_one(&mut *connection)
            .await?;
    if !noted {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i32, u32)> = sqlx::query_as("SELECT instance, number FROM presence_pairing")
        .fetch_all(connection)
        .await?;
    let numbers = rows
        .into_iter()
        .filter_map(|(instance, number)| Some((InstanceId::new(instance)?, number)));
    Ok(numbers.collect())
}

const READ: &str = "read devices.db";
