//! The store from outside: one suite for the registry in memory and in a file, then what only a file can do.

mod concurrency;
mod data_dir;
mod files;
mod key_store;
mod model;
mod old_keys;
mod registry;
mod restore;
mod snapshot;
mod support;
mod upgrade;
