//! A ledger that lasts as long as the process, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{KeptShown, Ledger, LedgerNews, LedgerVersion, Node, NodeId, Ownership};
use crate::error::StoreError;
use crate::key_store::Epoch;

/// A [`Ledger`] in memory, on tokio's clock. Its clones are the same ledger.
#[derive(Clone, Default)]
pub struct MemoryLedger {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rows: Mutex<Rows>,
    hints: watch::Sender<u64>,
}

#[derive(Default)]
struct Rows {
    nodes: BTreeMap<NodeId, NodeRow>,
    ownership: BTreeMap<InstanceId, OwnershipRow>,
    shown: BTreeMap<InstanceId, (Bytes, Instant)>,
    version: i64,
}

struct NodeRow {
    address: String,
    expires: Instant,
}

#[derive(Default)]
struct OwnershipRow {
    node: Option<NodeId>,
    epoch: Epoch,
    version: i64,
}

impl Rows {
    fn change(&mut self, instance: InstanceId, change: impl FnOnce(&mut OwnershipRow)) {
        if let Some(row) = self.ownership.get_mut(&instance) {
            self.version += 1;
            row.version = self.version;
            change(row);
        }
    }

    fn claim(&mut self, node: NodeId, instance: InstanceId) {
        self.change(instance, |row| {
            row.node = Some(node);
            row.epoch.0 += 1;
        });
    }

    /// Makes nobody's what these had.
    fn disown(&mut self, nodes: &BTreeSet<NodeId>) {
        let theirs: Vec<InstanceId> = self
            .ownership
            .iter()
            .filter(|(_, row)| row.node.is_some_and(|node| nodes.contains(&node)))
            .map(|(instance, _)| *instance)
            .collect();
        for instance in theirs {
            self.change(instance, |row| row.node = None);
        }
    }

    fn has(&self, node: NodeId, instance: InstanceId, epoch: Epoch) -> bool {
        self.ownership
            .get(&instance)
            .is_some_and(|row| row.node == Some(node) && row.epoch == epoch)
    }

    fn lives(&self, node: NodeId) -> Result<(), StoreError> {
        match self.nodes.contains_key(&node) {
            true => Ok(()),
            false => Err(StoreError::Fenced),
        }
    }
}

impl MemoryLedger {
    /// Adds an instance that nobody has, unless it is there.
    pub fn add_instance(&self, instance: InstanceId) {
        {
            let mut rows = self.rows();
            rows.version += 1;
            let version = rows.version;
            rows.ownership.entry(instance).or_insert(OwnershipRow {
                version,
                ..OwnershipRow::default()
            });
        }
        self.hint();
    }

    /// Removes an instance, whoever has it.
    pub fn remove_instance(&self, instance: InstanceId) {
        let mut rows = self.rows();
        rows.ownership.remove(&instance);
        rows.shown.remove(&instance);
    }

    /// Who has which instance now.
    #[must_use]
    pub fn owners(&self) -> Vec<Ownership> {
        let rows = self.rows();
        let owners = rows.ownership.iter().map(|(instance, row)| Ownership {
            instance: *instance,
            node: row.node,
            epoch: row.epoch,
        });
        owners.collect()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.shared.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self) {
        self.shared.hints.send_modify(|hints| *hints += 1);
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn enter(&self, node: NodeId, address: &str, lease: Duration) -> Result<(), StoreError> {
        let row = NodeRow {
            address: address.to_owned(),
            expires: Instant::now() + lease,
        };
        self.rows().nodes.insert(node, row);
        self.hint();
        Ok(())
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let row = rows.nodes.get_mut(&node);
        Ok(row.map(|row| row.expires = Instant::now() + lease).is_some())
    }

    async fn strike_off(&self, by: NodeId) -> Result<Vec<NodeId>, StoreError> {
        let over = {
            let mut rows = self.rows();
            if rows.lives(by).is_err() {
                return Ok(Vec::new());
            }
            let now = Instant::now();
            let over: BTreeSet<NodeId> = rows
                .nodes
                .iter()
                .filter(|(node, row)| **node != by && row.expires <= now)
                .map(|(node, _)| *node)
                .collect();
            rows.nodes.retain(|node, _| !over.contains(node));
            rows.disown(&over);
            over
        };
        if !over.is_empty() {
            self.hint();
        }
        Ok(over.into_iter().collect())
    }

    /// They were used in the order of their numbers.
    async fn claim(&self, node: NodeId, most: u32) -> Result<Vec<Ownership>, StoreError> {
        let claimed: Vec<Ownership> = {
            let mut rows = self.rows();
            rows.lives(node)?;
            let free = rows.ownership.iter().rev().filter(|(_, row)| row.node.is_none());
            let free: Vec<InstanceId> = free.map(|(instance, _)| *instance).take(most as usize).collect();
            let claim = |instance| {
                rows.claim(node, instance);
                Ownership {
                    instance,
                    node: Some(node),
                    epoch: rows.ownership[&instance].epoch,
                }
            };
            free.into_iter().map(claim).collect()
        };
        if !claimed.is_empty() {
            self.hint();
        }
        Ok(claimed)
    }

    async fn claim_one(&self, node: NodeId, instance: InstanceId) -> Result<Option<Epoch>, StoreError> {
        {
            let mut rows = self.rows();
            rows.lives(node)?;
            match rows.ownership.get(&instance) {
                None => return Ok(None),
                Some(row) if row.node == Some(node) => return Ok(Some(row.epoch)),
                Some(row) if row.node.is_some() => return Ok(None),
                Some(_) => rows.claim(node, instance),
            }
        }
        self.hint();
        let rows = self.rows();
        Ok(rows.ownership.get(&instance).map(|row| row.epoch))
    }

    async fn release(&self, node: NodeId, instances: &[(InstanceId, Epoch)]) -> Result<(), StoreError> {
        {
            let mut rows = self.rows();
            for (instance, epoch) in instances {
                if rows.has(node, *instance, *epoch) {
                    rows.change(*instance, |row| row.node = None);
                }
            }
        }
        self.hint();
        Ok(())
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        {
            let mut rows = self.rows();
            rows.nodes.remove(&node);
            rows.disown(&BTreeSet::from([node]));
        }
        self.hint();
        Ok(())
    }

    async fn read(&self, since: Option<LedgerVersion>) -> Result<LedgerNews, StoreError> {
        let rows = self.rows();
        let version = LedgerVersion(rows.version);
        let since = since.filter(|since| *since <= version);
        let nodes = rows.nodes.iter().map(|(id, row)| Node {
            id: *id,
            address: row.address.clone(),
        });
        let changed = rows
            .ownership
            .iter()
            .filter(|(_, row)| since.is_none_or(|since| row.version > since.0))
            .map(|(instance, row)| Ownership {
                instance: *instance,
                node: row.node,
                epoch: row.epoch,
            });
        Ok(LedgerNews {
            version,
            nodes: nodes.collect(),
            changed: changed.collect(),
            is_everything: since.is_none(),
        })
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.shared.hints.subscribe()
    }

    async fn keep_shown(&self, node: NodeId, shown: &[(InstanceId, Epoch, Bytes)]) -> Result<(), StoreError> {
        let mut rows = self.rows();
        for (instance, epoch, shown) in shown {
            if !rows.has(node, *instance, *epoch) {
                continue;
            }
            if shown.is_empty() {
                rows.shown.remove(instance);
            } else {
                rows.shown.insert(*instance, (shown.clone(), Instant::now()));
            }
        }
        Ok(())
    }

    async fn take_shown(&self, instances: &[InstanceId]) -> Result<Vec<KeptShown>, StoreError> {
        let mut rows = self.rows();
        let taken = instances.iter().filter_map(|instance| {
            let (shown, kept) = rows.shown.remove(instance)?;
            Some(KeptShown {
                instance: *instance,
                shown,
                age: kept.elapsed(),
            })
        });
        Ok(taken.collect())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LEASE: Duration = Duration::from_secs(9);

    const A: NodeId = NodeId::from_bytes([1; 16]);
    const B: NodeId = NodeId::from_bytes([2; 16]);

    fn instance(number: i32) -> InstanceId {
        InstanceId::new(number).unwrap()
    }

    /// One with two nodes, of which the first has three instances.
    async fn ledger() -> MemoryLedger {
        let ledger = MemoryLedger::default();
        (1..=3).for_each(|number| ledger.add_instance(instance(number)));
        ledger.enter(A, "http://a", LEASE).await.unwrap();
        ledger.enter(B, "http://b", LEASE).await.unwrap();
        assert_eq!(ledger.claim(A, 9).await.unwrap().len(), 3);
        ledger
    }

    #[tokio::test(start_paused = true)]
    async fn only_striking_off_takes_anything_away() {
        let ledger = ledger().await;
        advance(2 * LEASE).await;
        assert_eq!(ledger.claim(B, 9).await.unwrap(), []);
        assert_eq!(ledger.claim_one(B, instance(1)).await.unwrap(), None);
        assert!(
            ledger.renew(A, LEASE).await.unwrap(),
            "late, but nobody was faster"
        );
        ledger.renew(B, LEASE).await.unwrap();
        assert_eq!(ledger.strike_off(B).await.unwrap(), []);
        advance(LEASE).await;
        assert_eq!(ledger.strike_off(B).await.unwrap(), [A], "never itself");
        assert!(!ledger.renew(A, LEASE).await.unwrap());
        assert!(matches!(ledger.claim(A, 1).await, Err(StoreError::Fenced)));
        assert!(matches!(
            ledger.claim_one(A, instance(1)).await,
            Err(StoreError::Fenced)
        ));
        assert_eq!(ledger.strike_off(A).await.unwrap(), [], "it lives no longer");
        let taken = ledger.claim(B, 9).await.unwrap();
        assert!(taken.iter().all(|taken| taken.epoch == Epoch(2)) && taken.len() == 3);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_a_node_has_in_that_epoch_is_released() {
        let ledger = ledger().await;
        for (node, epoch) in [(B, 1), (A, 0), (A, 2)] {
            ledger
                .release(node, &[(instance(1), Epoch(epoch))])
                .await
                .unwrap();
            assert_eq!(ledger.claim_one(B, instance(1)).await.unwrap(), None);
        }
        ledger.release(A, &[(instance(1), Epoch(1))]).await.unwrap();
        assert_eq!(ledger.claim_one(B, instance(1)).await.unwrap(), Some(Epoch(2)));
        assert_eq!(
            ledger.claim_one(B, instance(1)).await.unwrap(),
            Some(Epoch(2)),
            "it has it"
        );
        ledger.leave(B).await.unwrap();
        ledger.leave(B).await.unwrap();
        assert_eq!(ledger.claim_one(A, instance(1)).await.unwrap(), Some(Epoch(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_tells_what_changed_since_the_last_one() {
        let ledger = ledger().await;
        let hints = ledger.hints();
        let everything = ledger.read(None).await.unwrap();
        assert!(everything.is_everything && everything.changed.len() == 3);
        assert_eq!(everything.nodes.len(), 2);
        ledger.release(A, &[(instance(2), Epoch(1))]).await.unwrap();
        assert!(hints.has_changed().unwrap());
        let news = ledger.read(Some(everything.version)).await.unwrap();
        let released = Ownership {
            instance: instance(2),
            node: None,
            epoch: Epoch(1),
        };
        assert_eq!((news.changed, news.is_everything), (vec![released], false));
        assert_eq!(ledger.read(Some(news.version)).await.unwrap().changed, []);
        let unknown = LedgerVersion(news.version.0 + 1);
        assert!(ledger.read(Some(unknown)).await.unwrap().is_everything);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_shown_is_taken_once() {
        let ledger = ledger().await;
        let shown = Bytes::from_static(b"typing");
        let of = |number, epoch| (instance(number), Epoch(epoch), shown.clone());
        ledger
            .keep_shown(A, &[of(1, 1), of(2, 0), of(3, 1)])
            .await
            .unwrap();
        ledger.keep_shown(B, &[of(2, 1)]).await.unwrap();
        let nothing = (instance(3), Epoch(1), Bytes::new());
        ledger.keep_shown(A, &[nothing]).await.unwrap();
        advance(Duration::from_secs(3)).await;
        let taken = ledger.take_shown(&[1, 2, 3].map(instance)).await.unwrap();
        let kept = KeptShown {
            instance: instance(1),
            shown,
            age: Duration::from_secs(3),
        };
        assert!(taken == [kept], "{taken:?}");
        assert!(ledger.take_shown(&[instance(1)]).await.unwrap().is_empty());
    }
}
