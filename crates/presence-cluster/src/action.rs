//! What the machine wants done, and what comes of it.

use presence_core::InstanceId;
use presence_store::{Epoch, LedgerNews, LedgerVersion, NodeId, Ownership};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Choose an id for a new run, and tell it with `handle_id`.
    ChooseId,
    /// Begin this statement, beside those under way; there is never another one of its kind.
    Begin(Statement),
    /// Tell the sessions that these are this node's from now on.
    Take(Vec<Ownership>),
    /// Have this session end in order.
    HandOver(InstanceId, Epoch),
    /// Have these sessions end without a word.
    GiveUp(Vec<InstanceId>),
}

/// A statement to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Enter(NodeId),
    Renew(NodeId),
    Read(Option<LedgerVersion>),
    StrikeOff(NodeId),
    Claim(NodeId, u32),
    Release(NodeId, Vec<(InstanceId, Epoch)>),
    Leave(NodeId),
}

/// Which statement. Of each kind at most one is under way, so that none waits for one of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StatementKind {
    Enter,
    Renew,
    Read,
    StrikeOff,
    Claim,
    Release,
    Leave,
}

impl Statement {
    pub(crate) fn kind(&self) -> StatementKind {
        match self {
            Self::Enter(_) => StatementKind::Enter,
            Self::Renew(_) => StatementKind::Renew,
            Self::Read(_) => StatementKind::Read,
            Self::StrikeOff(_) => StatementKind::StrikeOff,
            Self::Claim(..) => StatementKind::Claim,
            Self::Release(..) => StatementKind::Release,
            Self::Leave(_) => StatementKind::Leave,
        }
    }
}

/// What the ledger answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// This run lives no longer.
    Dead,
    /// [`Statement::Read`].
    News(LedgerNews),
    /// [`Statement::StrikeOff`].
    StruckOff(Vec<NodeId>),
    /// [`Statement::Claim`].
    Claimed(Vec<Ownership>),
    /// Nothing, or not in time: whether it was done is not known.
    Failed,
}
