//! How a node behaves in its cluster.

use std::time::Duration;

/// How a node behaves in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Where other nodes reach this one, such as `http://10.0.0.5:7070`.
    pub address: String,
    /// How long a node that says nothing still counts as alive, on the database's clock.
    pub lease: Duration,
    /// How often it says that it lives.
    pub renew_every: Duration,
    /// How often the ledger is read without a hint.
    pub read_every: Duration,
    /// How long sessions go on while the database is away.
    pub outage: Duration,
    /// How long the database may take to answer.
    pub patience: Duration,
    /// How many instances a node hands over in a second, so that another one gets its share.
    pub moves_per_second: u32,
}

impl ClusterSettings {
    /// The defaults, for a node that others reach at `address`.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            lease: Duration::from_secs(9),
            renew_every: Duration::from_secs(3),
            read_every: Duration::from_secs(1),
            outage: Duration::from_secs(60),
            patience: Duration::from_secs(5),
            moves_per_second: 10,
        }
    }
}
