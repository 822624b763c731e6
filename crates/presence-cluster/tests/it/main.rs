//! Several nodes over one ledger, on a paused clock.

mod balance;
mod failures;
mod properties;
mod support;
