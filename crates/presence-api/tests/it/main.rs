//! The service through real HTTP, with the real WhatsApp client, against the sandbox.
//!
//! Most of it runs in one process over pipes, on a paused clock: a minute of "typing…" takes none, and times
//! are exact. What needs the program itself is tested in presence-server.

mod answers;
mod app;
mod auth;
mod bad_input;
mod chaos;
mod compat;
mod console;
mod docs;
mod documented;
mod events;
mod evolution;
mod faults;
mod forwarded;
mod hammering;
mod http;
mod instances;
mod lids;
mod limits;
mod lookups;
mod metrics;
mod nodes;
mod pairing;
mod pairing_links;
mod presence;
mod proxies;
mod reconnect;
mod strain;
mod taken_over;
mod timelines;
mod troubled;
mod unreached;
mod unread;
mod waha;
mod webhooks;
