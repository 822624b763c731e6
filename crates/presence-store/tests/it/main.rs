//! The store from outside: one suite for the registry in memory and in a file, then what only a file can do.

mod concurrency;
mod data_dir;
mod device_keys;
mod files;
mod key_store;
mod model;
mod registry;
mod restore;
mod support;
mod upgrade;
