//! Accounts and the devices linked to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use std::time::Duration;

use super::delivery::Mailbox;
use super::durable::{self, Bytes, DeviceState};
use super::keys::Keys;
use super::logins::Logins;
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

impl Linked {
    fn durable(&self, id: u16) -> DeviceState {
        DeviceState {
            id,
            noise_key: Bytes(self.noise_key.to_vec()),
            identity: Bytes(self.identity.to_vec()),
            device_identity: Bytes(self.device_identity.clone()),
            keys: self.keys.as_ref().map(Keys::durable),
        }
    }

    /// `None` when what was remembered makes no sense.
    fn remember(state: &DeviceState) -> Option<Self> {
        let identity = state.identity.array()?;
        let keys = match &state.keys {
            Some(keys) => Some(Keys::remember(identity, keys)?),
            None => None,
        };
        Some(Self {
            noise_key: state.noise_key.array()?,
            identity,
            device_identity: state.device_identity.0.clone(),
            keys,
            mailbox: Mailbox::default(),
            logins: Logins::default(),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    accounts: HashMap<Number, Account>,
    by_key: HashMap<[u8; 32], Device>,
    lids: HashMap<Number, Lid>,
    by_lid: HashMap<Lid, Number>,
    /// Accounts of which it was said whether their chats have moved to LIDs.
    moved: HashMap<Number, bool>,
    /// How many one-time keys of each phone were given out.
    phone_keys: HashMap<Number, u32>,
}

/// A phone that accepted a device at least once.
#[derive(Debug, Default)]
struct Account {
    devices: BTreeMap<u16, Linked>,
    /// Device numbers given to devices that are being linked.
    offered: BTreeSet<u16>,
    last: u16,
    /// When one of its devices was last available, once one was and is not any more.
    last_available: Option<Duration>,
}

/// A device that is linked.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) noise_key: [u8; 32],
    /// The device's identity key, with which it signs its other keys.
    pub(super) identity: [u8; 32],
    /// The phone's word that the device is linked, signed by both: others get it along with the device's keys.
    pub(super) device_identity: Vec<u8>,
    pub(super) keys: Option<Keys>,
    pub(super) mailbox: Mailbox,
    pub(super) logins: Logins,
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

    /// The linked devices of `number`.
    pub(super) fn device_ids(&self, number: Number) -> Vec<u16> {
        let account = self.accounts.get(&number);
        account.map_or_else(Vec::new, |account| account.devices.keys().copied().collect())
    }

    pub(super) fn device(&self, device: Device) -> Option<&Linked> {
        self.accounts.get(&device.number)?.devices.get(&device.id)
    }

    pub(super) fn device_mut(&mut self, device: Device) -> Option<&mut Linked> {
        self.accounts.get_mut(&device.number)?.devices.get_mut(&device.id)
    }

    pub(super) fn logins(&self) -> impl Iterator<Item = (Device, &Logins)> {
        self.accounts.iter().flat_map(|(number, account)| {
            let device = |id: &u16| Device {
                number: *number,
                id: *id,
            };
            let devices = account.devices.iter();
            devices.map(move |(id, linked)| (device(id), &linked.logins))
        })
    }

    pub(super) fn mailbox(&mut self, device: Device) -> Option<&mut Mailbox> {
        self.device_mut(device).map(|linked| &mut linked.mailbox)
    }

    /// The number of the next one-time key of the phone of `number`; each is given out once.
    pub(super) fn next_phone_key(&mut self, number: Number) -> Option<u32> {
        if self.phone_keys.len() >= MAX_ACCOUNTS && !self.phone_keys.contains_key(&number) {
            return None;
        }
        let given = self.phone_keys.entry(number).or_default();
        *given += 1;
        Some(*given)
    }

    pub(super) fn last_available(&self, number: Number) -> Option<Duration> {
        self.accounts.get(&number)?.last_available
    }

    pub(super) fn was_available(&mut self, number: Number, until: Duration) {
        if let Some(account) = self.accounts.get_mut(&number) {
            account.last_available = Some(until);
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

    pub(super) fn link(&mut self, device: Device, linked: Linked) {
        let noise_key = linked.noise_key;
        self.unlink_key(&noise_key);
        self.lid_for(device.number);
        let account = self.accounts.entry(device.number).or_default();
        account.last = device.id;
        account.offered.remove(&device.id);
        if let Some(old) = account.devices.insert(device.id, linked) {
            self.by_key.remove(&old.noise_key);
        }
        self.by_key.insert(noise_key, device);
    }

    pub(super) fn linked(&self, noise_key: &[u8; 32]) -> Option<Device> {
        self.by_key.get(noise_key).copied()
    }

    pub(super) fn unlink(&mut self, device: Device) {
        if let Some(account) = self.accounts.get_mut(&device.number)
            && let Some(linked) = account.devices.remove(&device.id)
        {
            self.by_key.remove(&linked.noise_key);
        }
    }

    pub(super) fn unlink_all(&mut self, number: Number) -> usize {
        let Some(account) = self.accounts.get_mut(&number) else {
            return 0;
        };
        let devices = std::mem::take(&mut account.devices);
        for linked in devices.values() {
            self.by_key.remove(&linked.noise_key);
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

    pub(super) fn durable(&self) -> Vec<durable::Account> {
        let numbers: BTreeSet<_> = self
            .accounts
            .keys()
            .chain(self.lids.keys())
            .chain(self.moved.keys())
            .chain(self.phone_keys.keys())
            .copied()
            .collect();
        let account = |number: Number| {
            let account = self.accounts.get(&number);
            let devices = account.into_iter().flat_map(|account| &account.devices);
            durable::Account {
                number,
                lid: self.lid(number),
                migrated: self.moved(number),
                last: account.map_or(0, |account| account.last),
                phone_keys: self.phone_keys.get(&number).copied().unwrap_or_default(),
                devices: devices.map(|(id, linked)| linked.durable(*id)).collect(),
            }
        };
        numbers.into_iter().map(account).collect()
    }

    pub(super) fn remember(&mut self, account: &durable::Account) {
        let number = account.number;
        if self.is_full(number) {
            return;
        }
        if let Some(lid) = account.lid {
            self.lids.insert(number, lid);
            self.by_lid.insert(lid, number);
        }
        if let Some(moved) = account.migrated {
            self.moved.insert(number, moved);
        }
        if account.phone_keys > 0 {
            self.phone_keys.insert(number, account.phone_keys);
        }
        for state in &account.devices {
            if let Some(linked) = Linked::remember(state) {
                self.link(Device { number, id: state.id }, linked);
            }
        }
        if account.last > 0 {
            self.accounts.entry(number).or_default().last = account.last;
        }
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

    fn linked(noise_key: [u8; 32]) -> Linked {
        Linked {
            noise_key,
            identity: [0; 32],
            device_identity: Vec::new(),
            keys: None,
            mailbox: Mailbox::default(),
            logins: Logins::default(),
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
        accounts.link(own, linked([1; 32]));
        accounts.link(other, linked([2; 32]));
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
            accounts.link(Device { number, id }, linked([7; 32]));
            assert_eq!(accounts.devices(number), 1);
        }
    }
}
