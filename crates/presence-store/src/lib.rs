//! Who may use the service, which instances there are, and where their device keys live.
//!
//! The server and its command line call it. A [`Registry`] holds accounts, instances and their tokens. Every
//! question a request asks is answered from memory; a change is durable before anyone sees it. [`Store`] is
//! the one implementation, over a SQLite file in a [`DataDir`], over a [`Postgres`] that several nodes share or, for
//! tests, over nothing. A [`KeyStore`] holds the keys of all sessions, as rows whose meaning is the adapter's over the
//! WhatsApp client. A [`Ledger`] says which nodes live and who of them has which instance.
//!
//! ```
//! use chrono::DateTime;
//! use presence_store::{Caller, NewInstance, Registry, Store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Store::in_memory()?;
//! let now = DateTime::from_timestamp_millis(1_700_000_000_000).expect("in range");
//! let (account, token) = registry.create_account("acme".parse()?, None, now).await?;
//! assert!(matches!(registry.authenticate(token.expose()), Some(Caller::Account(id)) if id == account.id));
//!
//! let new = NewInstance { name: "support".parse()?, token: None, keep_online: false, proxy: None, now };
//! let (instance, token) = registry.create_instance(account.id, new).await?;
//! assert_eq!(registry.instance_token(&instance)?, token);
//! assert!(registry.instance(account.id, "support").is_some());
//! # Ok(())
//! # }
//! ```

mod account;
mod backend;
mod caller;
mod contents;
mod data_dir;
mod directory;
mod edge;
mod error;
mod files;
mod follow;
mod instance;
mod key;
mod key_check;
mod key_file;
mod key_rotation;
mod key_store;
mod ledger;
mod name;
mod old_keys;
mod postgres;
mod random;
mod recent;
mod registry;
mod restore;
mod secret_text;
mod snapshot;
mod sqlite;
mod store;
mod token;

pub use account::{Account, AccountId, AccountName};
pub use caller::Caller;
pub use data_dir::{DataDir, DataLock, LockError};
pub use edge::{Edge, EdgeMismatch, PinEdgeError};
pub use error::{CreateAccountError, CreateInstanceError, InvalidKey, StoreError};
pub use follow::FOLLOWED_WITHIN;
pub use instance::{Instance, InstanceName, NewInstance};
pub use key::{KeySource, TokenKey};
pub use key_check::{CheckKeysError, UnknownKeys};
pub use key_rotation::KeyChange;
pub use key_store::{Durability, Epoch, KeyStore, Kind, MemoryKeyStore, Row, RowChange, SqliteKeyStore};
pub use ledger::{
    FaultyLedger, KeptShown, Ledger, LedgerFault, LedgerNews, LedgerVersion, MemoryLedger, Node, NodeId,
    Ownership,
};
pub use name::{InvalidName, MAX_NAME_LENGTH};
pub use old_keys::OldKeys;
pub use postgres::{Moved, Postgres, PostgresKeyStore, PostgresLedger, PostgresOptions, TransferError};
pub use presence_core::InstanceId;
pub use registry::Registry;
pub use restore::Lost;
pub use secret_text::SecretText;
pub use snapshot::{Snapshot, SnapshotError};
pub use sqlite::Resealed;
pub use store::Store;
pub use token::{InvalidToken, Token};
