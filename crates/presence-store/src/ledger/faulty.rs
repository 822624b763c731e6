//! A ledger behind a connection that can fail, for tests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{KeptShown, Ledger, LedgerNews, LedgerVersion, NodeId, Ownership};
use crate::error::StoreError;
use crate::key_store::Epoch;

/// One node's way to a [`Ledger`], which can be cut and slowed down. Its clones are the same way.
#[derive(Clone)]
pub struct FaultyLedger {
    ledger: Arc<dyn Ledger>,
    fault: watch::Sender<LedgerFault>,
    statements: Arc<AtomicU64>,
}

/// What is wrong with the way to a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerFault {
    /// Nothing.
    Nothing,
    /// Every statement fails at once.
    Refused,
    /// Every statement waits until this ends, and is carried out then, unless nobody waits for it any more.
    Stuck,
    /// Every statement takes this long.
    Slow(Duration),
    /// Every statement is carried out, and its answer is lost.
    AnswersLost,
}

impl FaultyLedger {
    /// A way to `ledger` with which nothing is wrong yet.
    #[must_use]
    pub fn new(ledger: impl Ledger) -> Self {
        Self {
            ledger: Arc::new(ledger),
            fault: watch::Sender::new(LedgerFault::Nothing),
            statements: Arc::default(),
        }
    }

    /// From now on this is wrong with it.
    pub fn set(&self, fault: LedgerFault) {
        self.fault.send_replace(fault);
    }

    /// What is wrong with it now.
    #[must_use]
    pub fn fault(&self) -> LedgerFault {
        *self.fault.borrow()
    }

    /// How many statements were sent on this way.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    async fn through<T>(
        &self,
        statement: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        match self.fault() {
            LedgerFault::Nothing => {}
            LedgerFault::Refused => return Err(failed()),
            LedgerFault::Stuck => {
                let mut fault = self.fault.subscribe();
                let ended = fault.wait_for(|fault| *fault != LedgerFault::Stuck).await;
                ended.map_err(|_| failed())?;
            }
            LedgerFault::Slow(long) => sleep(long).await,
            LedgerFault::AnswersLost => {
                statement.await?;
                return Err(failed());
            }
        }
        statement.await
    }
}

fn failed() -> StoreError {
    StoreError::Database {
        doing: "reach the database",
        source: Box::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
    }
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn enter(&self, node: NodeId, address: &str, lease: Duration) -> Result<(), StoreError> {
        self.through(self.ledger.enter(node, address, lease)).await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        self.through(self.ledger.renew(node, lease)).await
    }

    async fn strike_off(&self, by: NodeId) -> Result<Vec<NodeId>, StoreError> {
        self.through(self.ledger.strike_off(by)).await
    }

    async fn claim(&self, node: NodeId, most: u32) -> Result<Vec<Ownership>, StoreError> {
        self.through(self.ledger.claim(node, most)).await
    }

    async fn claim_one(&self, node: NodeId, instance: InstanceId) -> Result<Option<Epoch>, StoreError> {
        self.through(self.ledger.claim_one(node, instance)).await
    }

    async fn release(&self, node: NodeId, instances: &[(InstanceId, Epoch)]) -> Result<(), StoreError> {
        self.through(self.ledger.release(node, instances)).await
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        self.through(self.ledger.leave(node)).await
    }

    async fn read(&self, since: Option<LedgerVersion>) -> Result<LedgerNews, StoreError> {
        self.through(self.ledger.read(since)).await
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.ledger.hints()
    }

    async fn keep_shown(&self, node: NodeId, shown: &[(InstanceId, Epoch, Bytes)]) -> Result<(), StoreError> {
        self.through(self.ledger.keep_shown(node, shown)).await
    }

    async fn take_shown(&self, instances: &[InstanceId]) -> Result<Vec<KeptShown>, StoreError> {
        self.through(self.ledger.take_shown(instances)).await
    }
}
