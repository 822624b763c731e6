//! Which of many nodes has which instance.
//!
//! A [`Cluster`] is what one process knows of all: who lives, who has what, where a request belongs. Its
//! [`Driver`] keeps this node's lease in the [`Ledger`](presence_store::Ledger), takes a fair share of the instances,
//! and tells [`Sessions`] what to open and what to end. What it does when is decided by a machine without IO.

mod act_until;
mod action;
mod clock;
mod cluster;
mod driver;
mod holdings;
mod ledger_copy;
mod machine;
mod membership;
mod message;
mod sessions;
mod settings;
mod share;
mod standing;
mod statements;
mod view;

pub use cluster::Cluster;
pub use driver::Driver;
pub use sessions::{Activity, Sessions};
pub use settings::ClusterSettings;
pub use standing::Standing;
pub use view::{Home, Whereabouts};
