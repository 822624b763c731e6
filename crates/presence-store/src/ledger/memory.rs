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
