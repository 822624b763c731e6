//! Accounts and the devices linked to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Lid, Number, TooManyNumbers};

/// How many accounts can ever link a device.
const MAX_ACCOUNTS: usize = 1_000_000;

/// Device numbers are a byte on the wire, and WhatsApp gives out 1 to 99.
const LAST_DEVICE: u16 = 99;

/// A linked device: `<number>:<id>@s.whatsapp.net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Device {
    pub(crate) number: Number,
    pub(crate) id: u16,
}

/// Who a device is, by its key and by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognised {
    /// It is linked.
    Linked(Device),
    /// It says it is a device that a phone has accepted and that is not registered yet.
    Offered,
    /// It says it is a device of an account that has not, or no longer, linked it.
    Unlinked,
    /// It was never linked, or says it is of an account that never linked anything: it wants to be linked.
    Stranger,
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: HashMap<Number, Account>,
    by_key: HashMap<[u8; 32], Device>,
    lids: HashMap<Number, Lid>,
    by_lid: HashMap<Lid, Number>,
    /// Accounts of which it was said whether their chats have moved to LIDs.
    moved: HashMap<Number, bool>,
}

/// A phone that accepted a device at least once.
#[derive(Debug, Default)]
struct Account {
    devices: BTreeMap<u16, [u8; 32]>,
    /// Device numbers given to devices that are being linked.
    offered: BTreeSet<u16>,
    last: u16,
}

impl Accounts {
    pub(super) fn recognise(&self, noise_key: &[u8; 32], says: Option<Device>) -> Recognised {
        match (self.by_key.get(noise_key), says) {
            (Some(linked), Some(says)) if *linked == says => Recognised::Linked(says),
            (_, Some(says)) if self.is_offered(says) => Recognised::Offered,
            // A number the sandbox never saw is a placeholder: a client needs some number to greet with
            // when it connects to be linked.
            (_, Some(says)) if self.accounts.contains_key(&says.number) => Recognised::Unlinked,
            _ => Recognised::Stranger,
        }
    }

    pub(super) fn is_full(&self, number: Number) -> bool {
        self.lids.len() >= MAX_ACCOUNTS && !self.lids.contains_key(&number)
    }

    pub(super) fn devices(&self, number: Number) -> usize {
        self.accounts
            .get(&number)
            .map_or(0, |account| account.devices.len())
    }

    /// How many devices are linked to `number`, or are about to be.
    pub(super) fn devices_and_offers(&self, number: Number) -> usize {
        self.accounts
            .get(&number)
            .map_or(0, |account| account.devices.len() + account.offered.len())
    }

    /// The id the next device of `number` gets: not one that was just given up.
    pub(super) fn next_device(&self, number: Number) -> Option<u16> {
        let Some(account) = self.accounts.get(&number) else {
            return Some(1);
        };
        let mut after = (account.last + 1..=LAST_DEVICE).chain(1..=account.last);
        after.find(|id| !account.devices.contains_key(id) && !account.offered.contains(id))
    }

    /// The phone accepts a device; it is not linked before [`link`](Self::link).
    pub(super) fn offer(&mut self, device: Device) {
        self.lid_for(device.number);
        let account = self.accounts.entry(device.number).or_default();
        account.last = device.id;
        account.offered.insert(device.id);
    }

    pub(super) fn is_offered(&self, device: Device) -> bool {
        self.accounts
            .get(&device.number)
            .is_some_and(|account| account.offered.contains(&device.id))
    }

    /// Nothing came of an offer.
    pub(super) fn withdraw(&mut self, device: Device) {
        if let Some(account) = self.accounts.get_mut(&device.number) {
            account.offered.remove(&device.id);
        }
    }

    /// Says whether the chats of `number` have moved to LIDs.
    pub(super) fn set_moved(&mut self, number: Number, moved: bool) -> Result<(), TooManyNumbers> {
        if self.moved.len() >= MAX_ACCOUNTS && !self.moved.contains_key(&number) {
            return Err(TooManyNumbers);
        }
        self.moved.insert(number, moved);
        Ok(())
    }

    /// Whether the chats of `number` have moved to LIDs; `None` when nobody said.
    pub(super) fn moved(&self, number: Number) -> Option<bool> {
        self.moved.get(&number).copied()
    }

    pub(super) fn link(&mut self, device: Device, noise_key: [u8; 32]) {
        self.unlink_key(&noise_key);
        self.lid_for(device.number);
        let account = self.accounts.entry(device.number).or_default();
        account.last = device.id;
        account.offered.remove(&device.id);
        if let Some(old) = account.devices.insert(device.id, noise_key) {
            self.by_key.remove(&old);
        }
        self.by_key.insert(noise_key, device);
    }

    pub(super) fn linked(&self, noise_key: &[u8; 32]) -> Option<Device> {
        self.by_key.get(noise_key).copied()
    }

    pub(super) fn unlink(&mut self, device: Device) {
        if let Some(account) = self.accounts.get_mut(&device.number)
            && let Some(key) = account.devices.remove(&device.id)
        {
            self.by_key.remove(&key);
        }
    }

    pub(super) fn unlink_all(&mut self, number: Number) -> usize {
        let Some(account) = self.accounts.get_mut(&number) else {
            return 0;
        };
        let devices = std::mem::take(&mut account.devices);
        for key in devices.values() {
            self.by_key.remove(key);
        }
        devices.len()
    }

    /// The LID of an account, unless the table of numbers knows another.
    pub(super) fn lid(&self, number: Number) -> Option<Lid> {
        self.lids.get(&number).copied()
    }

    /// The LID `number` has, or gets now.
    pub(super) fn lid_for(&mut self, number: Number) -> Lid {
        let next = Lid::nth(self.lids.len() as u64);
        let lid = *self.lids.entry(number).or_insert(next);
        self.by_lid.insert(lid, number);
        lid
    }

    pub(super) fn by_lid(&self, lid: Lid) -> Option<Number> {
        self.by_lid.get(&lid).copied()
    }

    fn unlink_key(&mut self, noise_key: &[u8; 32]) {
        if let Some(device) = self.linked(noise_key) {
            self.unlink(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: &str, id: u16) -> Device {
        Device {
            number: number.parse().unwrap(),
            id,
        }
    }

    #[test]
    fn a_device_is_known_by_its_key_and_what_it_says() {
        let (own, other, new) = (
            device("5511988887777", 1),
            device("5511988887778", 1),
            device("1000000000", 1),
        );
        let mut accounts = Accounts::default();
        accounts.link(own, [1; 32]);
        accounts.link(other, [2; 32]);
        let cases = [
            ([1; 32], Some(own), Recognised::Linked(own)),
            // With its own key as another device, linked or not, of a known account.
            ([1; 32], Some(other), Recognised::Unlinked),
            ([1; 32], Some(device("5511988887777", 2)), Recognised::Unlinked),
            // As itself, with another key.
            ([2; 32], Some(own), Recognised::Unlinked),
            ([3; 32], Some(own), Recognised::Unlinked),
            // Under a placeholder, or with no name at all.
            ([3; 32], Some(new), Recognised::Stranger),
            ([1; 32], Some(new), Recognised::Stranger),
            ([3; 32], None, Recognised::Stranger),
        ];
        for (key, says, expected) in cases {
            assert_eq!(accounts.recognise(&key, says), expected, "{key:?} {says:?}");
        }
        accounts.unlink_all(own.number);
        assert_eq!(accounts.recognise(&[1; 32], Some(own)), Recognised::Unlinked);
    }

    #[test]
    fn a_device_number_is_not_given_out_again_at_once() {
        let number = "5511988887777".parse().unwrap();
        let mut accounts = Accounts::default();
        for n in 0..300u16 {
            let id = accounts.next_device(number).unwrap();
            assert_eq!(id, n % LAST_DEVICE + 1);
            accounts.link(Device { number, id }, [7; 32]);
            assert_eq!(accounts.devices(number), 1);
        }
    }
}
