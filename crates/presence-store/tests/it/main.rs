//! The store from outside: one suite for the registry in memory, in a file and in PostgreSQL, then what only
//! one of them can do.

mod concurrency;
mod data_dir;
mod files;
mod key_store;
mod model;
mod old_keys;
#[cfg(feature = "postgres-tests")]
mod postgres;
mod registry;
mod restore;
mod snapshot;
mod support;
mod upgrade;
