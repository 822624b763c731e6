//! The connections that stand, found by id and by number: a sandbox can have thousands.

use std::collections::HashMap;

use super::connection::Connection;
use super::{ConnectionId, Device, Number};

#[derive(Debug, Default)]
pub(super) struct Connections {
    all: HashMap<ConnectionId, Connection>,
    /// Those of linked devices.
    by_number: HashMap<Number, Vec<ConnectionId>>,
    last: u64,
}

impl Connections {
    pub(super) fn open(&mut self, connection: Connection) -> ConnectionId {
        self.last += 1;
        let id = ConnectionId(self.last);
        if let Some(device) = connection.device {
            self.by_number.entry(device.number).or_default().push(id);
        }
        self.all.insert(id, connection);
        id
    }

    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        let closed = self.all.remove(&id)?;
        if let Some(Device { number, .. }) = closed.device
            && let Some(of) = self.by_number.get_mut(&number)
        {
            of.retain(|other| *other != id);
            if of.is_empty() {
                self.by_number.remove(&number);
            }
        }
        Some(closed)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.all.get_mut(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those of `number`'s devices, oldest first.
    pub(super) fn of(&self, number: Number) -> &[ConnectionId] {
        self.by_number.get(&number).map_or(&[], Vec::as_slice)
    }

    /// Those of `number`'s devices, or all, also those of devices that wait to be linked; oldest first.
    pub(super) fn concerned(&self, number: Option<Number>) -> Vec<ConnectionId> {
        match number {
            Some(number) => self.of(number).to_vec(),
            None => {
                let mut all: Vec<_> = self.all.keys().copied().collect();
                all.sort_unstable();
                all
            }
        }
    }

    /// The one connection of `device`.
    pub(super) fn of_device(&self, device: Device) -> Option<ConnectionId> {
        let is_its = |id: &&ConnectionId| self.get(**id).is_some_and(|c| c.device == Some(device));
        self.of(device.number).iter().find(is_its).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.all.iter().map(|(id, connection)| (*id, connection))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionId, &mut Connection)> {
        self.all.iter_mut().map(|(id, connection)| (*id, connection))
    }
}
