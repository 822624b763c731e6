//! The adapter against the sandbox: the real client, the real protocol, and a clock that runs only when
//! nothing else does.

mod availability;
mod batches;
mod disk;
mod faults;
mod life;
mod pairing;
mod stanzas;
mod support;
