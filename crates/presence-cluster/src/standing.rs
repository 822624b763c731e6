//! How this node stands in its cluster.

/// How this node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not entered the ledger yet, or has to enter it again.
    Outside,
    /// It lives, as far as it knows.
    Member,
    /// The database does not answer. What this node has, it keeps for a while.
    CutOff,
    /// It hands over what it has, and takes nothing.
    Leaving,
}
