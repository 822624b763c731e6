//! What was appended and is not on the disk yet. Without IO: the writer takes work from here, and says what became
//! of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use presence_core::InstanceId;
use tokio::sync::oneshot;

use super::{Epoch, Kind, Row, RowChange};
use crate::error::StoreError;
use crate::ledger::NodeId;

/// How much may wait for a disk that cannot be written, in bytes of names and values. Sessions that change nothing
/// go on; whoever would change a key is refused, so that WhatsApp delivers again what brought the change.
const MOST: usize = 64 << 20;

/// Rows that wait for the disk, the newest of each alone, and those who wait with them.
///
/// A commit takes everything that waits at one moment, so the disk always has all of an append or nothing, and no
/// append without those before it.
#[derive(Default)]
pub(crate) struct Pending {
    rows: BTreeMap<(InstanceId, Kind), BTreeMap<Bytes, Entry>>,
    /// Devices whose rows on the disk are to go, before what is in `rows` comes.
    wipes: BTreeMap<InstanceId, Wipe>,
    fence: Fence,
    waiters: Vec<Waiter>,
    /// Counts what was changed.
    seq: u64,
    bytes: usize,
}

/// Who may write to a device.
enum Fence {
    /// Whoever does it in the highest epoch in which it was written, on the disk or here. Nobody else writes.
    Newest(BTreeMap<InstanceId, Epoch>),
    /// This node, as far as it knows that it has the device, in that epoch alone. What became of it meanwhile the
    /// database knows.
    Owned {
        node: Option<NodeId>,
        devices: BTreeMap<InstanceId, Epoch>,
    },
}

impl Default for Fence {
    fn default() -> Self {
        Self::Newest(BTreeMap::new())
    }
}

struct Entry {
    value: Option<Bytes>,
    seq: u64,
}

struct Wipe {
    /// In which epoch this node had the device when it was asked to, if it had.
    epoch: Option<Epoch>,
    seq: u64,
}

/// Somebody who waits for what is pending now.
struct Waiter {
    task: Task,
    told: oneshot::Sender<Result<(), StoreError>>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// That everything before it was given to the system.
    Flush,
    /// That what was changed of this device is on the disk.
    Sync(InstanceId),
    /// That everything is on the disk, and something was written for the sake of writing.
    Check,
    /// The same, and an older file's keys were taken over.
    Successor,
    /// The same, and this instance's keys belong to its pairing `number` from now on.
    Pairing { instance: InstanceId, number: u32 },
}

/// What one commit writes: everything that was pending at one moment.
#[derive(Default)]
pub(crate) struct Work {
    /// As which node; `None` where there is but one.
    pub(crate) node: Option<NodeId>,
    /// With the epoch in which this node has the device, if it does.
    pub(crate) wipes: Vec<(InstanceId, Option<Epoch>)>,
    pub(crate) devices: Vec<(InstanceId, Epoch)>,
    pub(crate) rows: Vec<(InstanceId, RowChange)>,
    pub(crate) tasks: Vec<Task>,
    waiters: Vec<Waiter>,
    seq: u64,
}

/// What is pending of one row or range, for whoever reads the disk next.
pub(crate) enum Seen<T> {
    /// The disk has what was not changed here.
    Over(T),
    /// What the disk has is to be wiped: this is all.
    Instead(T),
}

impl Pending {
    /// With what the disk says of epochs.
    pub(crate) fn new(epochs: BTreeMap<InstanceId, Epoch>) -> Self {
        Self {
            fence: Fence::Newest(epochs),
            ..Self::default()
        }
    }

    /// Of a node that has nothing yet.
    pub(crate) fn fenced() -> Self {
        Self {
            fence: Fence::Owned {
                node: None,
                devices: BTreeMap::new(),
            },
            ..Self::default()
        }
    }

    /// In which epoch `device` is written from now on; `None` when it is not.
    pub(crate) fn epoch(&self, device: InstanceId) -> Option<Epoch> {
        match &self.fence {
            Fence::Newest(epochs) => Some(epochs.get(&device).copied().unwrap_or_default()),
            Fence::Owned { devices, .. } => devices.get(&device).copied(),
        }
    }

    /// From now on this is `node`, which has nothing yet. What waits of the one before is forgotten, but for wipes of
    /// what no node has.
    pub(crate) fn begin(&mut self, node: NodeId) {
        self.rows.clear();
        self.wipes.retain(|_, wipe| wipe.epoch.is_none());
        self.bytes = 0;
        self.fence = Fence::Owned {
            node: Some(node),
            devices: BTreeMap::new(),
        };
        self.refuse(|_| true);
    }

    /// From now on this node has `device`. What waits of before is forgotten.
    pub(crate) fn own(&mut self, device: InstanceId, epoch: Epoch) {
        if let Fence::Owned { devices, .. } = &mut self.fence
            && devices.insert(device, epoch) != Some(epoch)
        {
            self.forget(device);
            self.wipes.remove(&device);
            self.refuse(|refused| refused == device);
        }
    }

    /// From now on this node has none of `lost`, and what waits of them is forgotten, but for wipes: they may have been
    /// deleted.
    pub(crate) fn disown(&mut self, lost: &BTreeSet<InstanceId>) {
        for device in lost {
            if let Fence::Owned { devices, .. } = &mut self.fence {
                devices.remove(device);
            }
            self.forget(*device);
        }
        self.refuse(|device| lost.contains(&device));
    }

    pub(crate) fn append(
        &mut self,
        device: InstanceId,
        epoch: Epoch,
        changes: Vec<RowChange>,
    ) -> Result<(), StoreError> {
        let is_fenced = match &self.fence {
            Fence::Newest(epochs) => epochs.get(&device).is_some_and(|newest| epoch < *newest),
            Fence::Owned { devices, .. } => devices.get(&device) != Some(&epoch),
        };
        if is_fenced {
            return Err(StoreError::Fenced);
        }
        if self.bytes > MOST {
            return Err(StoreError::Overloaded);
        }
        if let Fence::Newest(epochs) = &mut self.fence {
            epochs.insert(device, epoch);
        }
        self.seq += 1;
        for RowChange { kind, name, value } in changes {
            self.bytes += size(&name, value.as_ref());
            let rows = self.rows.entry((device, kind)).or_default();
            let entry = Entry { value, seq: self.seq };
            // The names are equal, and the map keeps its own.
            if let Some(replaced) = rows.insert(name.clone(), entry) {
                self.bytes -= size(&name, replaced.value.as_ref());
            }
        }
        Ok(())
    }

    pub(crate) fn wipe(&mut self, device: InstanceId) {
        self.seq += 1;
        self.forget(device);
        let wipe = Wipe {
            epoch: self.epoch(device),
            seq: self.seq,
        };
        if let Fence::Newest(epochs) = &mut self.fence {
            epochs.remove(&device);
        }
        self.wipes.insert(device, wipe);
    }

    /// Forgets what waits of `device`.
    fn forget(&mut self, device: InstanceId) {
        let kinds: Vec<_> = self
            .rows
            .range((device, Kind(0))..=(device, Kind(u8::MAX)))
            .map(|(key, _)| *key)
            .collect();
        for kind in kinds {
            for (name, entry) in self.rows.remove(&kind).unwrap_or_default() {
                self.bytes -= size(&name, entry.value.as_ref());
            }
        }
    }

    /// Tells those who wait for what is forgotten, and not for a wipe.
    fn refuse(&mut self, is_forgotten: impl Fn(InstanceId) -> bool) {
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter.task {
                Task::Sync(device) if is_forgotten(device) && !self.wipes.contains_key(&device) => {
                    // Nobody may be waiting any more.
                    let _ = waiter.told.send(Err(StoreError::Fenced));
                }
                _ => self.waiters.push(waiter),
            }
        }
    }

    /// Whether something waits for the disk, but nobody for that.
    pub(crate) fn may_gather(&self) -> bool {
        self.waiters.is_empty() && self.wipes.is_empty() && !self.rows.is_empty()
    }

    /// Has somebody told when what is pending now was committed, and `task` with it.
    pub(crate) fn wait(&mut self, task: Task) -> oneshot::Receiver<Result<(), StoreError>> {
        let (told, answer) = oneshot::channel();
        self.waiters.push(Waiter { task, told });
        answer
    }

    pub(crate) fn get(&self, device: InstanceId, kind: Kind, name: &[u8]) -> Option<Option<Bytes>> {
        let entry = self.rows.get(&(device, kind)).and_then(|rows| rows.get(name));
        match entry {
            Some(entry) => Some(entry.value.clone()),
            None => self.wipes.contains_key(&device).then_some(None),
        }
    }

    /// The rows of `kind` that changed, whose names begin with `prefix`.
    pub(crate) fn range(
        &self,
        device: InstanceId,
        kind: Kind,
        prefix: &[u8],
    ) -> Seen<BTreeMap<Bytes, Option<Bytes>>> {
        let rows = self.rows.get(&(device, kind)).into_iter().flatten();
        let changed = rows
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, entry)| (name.clone(), entry.value.clone()))
            .collect();
        if self.wipes.contains_key(&device) {
            Seen::Instead(changed)
        } else {
            Seen::Over(changed)
        }
    }

    /// The row of `kind` without a name, of each device that changed it or is to be wiped.
    pub(crate) fn of_all(&self, kind: Kind) -> BTreeMap<InstanceId, Option<Bytes>> {
        let mut changed: BTreeMap<_, _> = self.wipes.keys().map(|device| (*device, None)).collect();
        for ((device, found), rows) in &self.rows {
            if *found == kind
                && let Some(entry) = rows.get(&b""[..])
            {
                changed.insert(*device, entry.value.clone());
            }
        }
        changed
    }

    /// Whether each device that changed or is to be wiped has keys then.
    pub(crate) fn devices(&self) -> BTreeMap<InstanceId, bool> {
        let wiped = self.wipes.keys().map(|device| (*device, false));
        let changed = self.rows.keys().map(|(device, _)| (*device, true));
        wiped.chain(changed).collect()
    }

    /// Everything that waits; `None` when nothing does. It goes on waiting until it is
    /// [committed](Self::committed).
    pub(crate) fn take(&mut self) -> Option<Work> {
        if self.rows.is_empty() && self.wipes.is_empty() && self.waiters.is_empty() {
            return None;
        }
        let waiters = std::mem::take(&mut self.waiters);
        let mut work = Work {
            node: match self.fence {
                Fence::Newest(_) => None,
                Fence::Owned { node, .. } => node,
            },
            wipes: self
                .wipes
                .iter()
                .map(|(device, wipe)| (*device, wipe.epoch))
                .collect(),
            tasks: waiters.iter().map(|waiter| waiter.task).collect(),
            waiters,
            seq: self.seq,
            ..Work::default()
        };
        for ((device, kind), rows) in &self.rows {
            if work.devices.last().is_none_or(|(last, _)| last != device) {
                let epoch = self.epoch(*device).unwrap_or_default();
                work.devices.push((*device, epoch));
            }
            work.rows.extend(rows.iter().map(|(name, entry)| {
                let change = RowChange {
                    kind: *kind,
                    name: name.clone(),
                    value: entry.value.clone(),
                };
                (*device, change)
            }));
        }
        Some(work)
    }

    /// `work` is on the disk, but for what somebody else has by now, `fenced`: that is forgotten. What changed since it
    /// was taken goes on waiting.
    pub(crate) fn committed(&mut self, work: Work, fenced: &BTreeSet<InstanceId>) {
        for (device, RowChange { kind, name, .. }) in &work.rows {
            let Some(rows) = self.rows.get_mut(&(*device, *kind)) else {
                continue;
            };
            if rows.get(name).is_some_and(|entry| entry.seq <= work.seq)
                && let Some(entry) = rows.remove(name)
            {
                self.bytes -= size(name, entry.value.as_ref());
            }
            if rows.is_empty() {
                self.rows.remove(&(*device, *kind));
            }
        }
        self.wipes.retain(|_, wipe| wipe.seq > work.seq);
        if !fenced.is_empty() {
            let lost = work.epochs().filter(|(device, epoch)| {
                // It may have it again, in another epoch.
                fenced.contains(device) && self.epoch(*device) == Some(*epoch)
            });
            self.disown(&lost.map(|(device, _)| device).collect());
        }
        for waiter in work.waiters {
            let is_fenced = matches!(waiter.task, Task::Sync(device) if fenced.contains(&device));
            // Nobody may be waiting any more.
            let _ = waiter.told.send(if is_fenced {
                Err(StoreError::Fenced)
            } else {
                Ok(())
            });
        }
    }
}

impl Work {
    /// Whether it must survive a power cut.
    pub(crate) fn is_durable(&self) -> bool {
        !self.wipes.is_empty() || self.tasks.iter().any(|task| *task != Task::Flush)
    }

    /// Whether it changes keys of any device.
    pub(crate) fn has_keys(&self) -> bool {
        !(self.rows.is_empty() && self.wipes.is_empty())
    }

    /// In which epoch this node has each device that it changes.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = (InstanceId, Epoch)> {
        let wiped = self
            .wipes
            .iter()
            .filter_map(|(device, epoch)| Some((*device, (*epoch)?)));
        self.devices.iter().copied().chain(wiped)
    }

    /// It could not be committed, for a reason that `error` tells each time anew. Its rows still wait.
    pub(crate) fn failed(self, error: impl Fn() -> StoreError) {
        for waiter in self.waiters {
            let _ = waiter.told.send(Err(error()));
        }
    }
}

/// What the disk has, with what is pending over it.
pub(crate) fn merged(on_disk: Vec<Row>, changed: BTreeMap<Bytes, Option<Bytes>>) -> Vec<Row> {
    if changed.is_empty() {
        return on_disk;
    }
    let mut rows: BTreeMap<_, _> = on_disk.into_iter().collect();
    for (name, value) in changed {
        match value {
            Some(value) => rows.insert(name, value),
            None => rows.remove(&name),
        };
    }
    rows.into_iter().collect()
}

fn size(name: &Bytes, value: Option<&Bytes>) -> usize {
    name.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests;
