//! What outlives a sandbox that was told to remember: who has which devices, with which keys, and what was set
//! for numbers and groups. What phones show, messages under way, the journal and the faults end with it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Lid, Number, Place, World};

/// A world's memory, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Durable {
    /// What the server's and the phones' keys follow from.
    secret: Bytes,
    pub(super) accounts: Vec<Account>,
    numbers: Vec<Known>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) number: Number,
    pub(super) lid: Option<Lid>,
    pub(super) migrated: Option<bool>,
    /// The number of the device that was linked last.
    pub(super) last: u16,
    /// How many of the phone's one-time keys were given out.
    pub(super) phone_keys: u32,
    pub(super) devices: Vec<DeviceState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeviceState {
    pub(super) id: u16,
    pub(super) noise_key: Bytes,
    pub(super) identity: Bytes,
    pub(super) device_identity: Bytes,
    pub(super) keys: Option<KeysState>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeysState {
    pub(super) registration: u32,
    pub(super) signed_id: u32,
    pub(super) signed_value: Bytes,
    pub(super) signed_signature: Bytes,
    pub(super) one_time: Vec<(u32, Bytes)>,
    pub(super) used: BTreeSet<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    number: Number,
    canonical: Option<Number>,
    lid: Option<Lid>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    id: String,
    subject: String,
    members: BTreeSet<Number>,
}

/// Bytes, in Base64.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    /// As an array, when there are as many.
    pub(super) fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.0.as_slice().try_into().ok()
    }
}

impl Durable {
    /// The secret, when it is one.
    pub(crate) fn secret(&self) -> Option<[u8; 32]> {
        self.secret.array()
    }
}

impl World {
    /// What is to be remembered now.
    pub(crate) fn durable(&self) -> Durable {
        let mut numbers: Vec<_> = self
            .numbers
            .all()
            .map(|(number, canonical, lid)| Known {
                number,
                canonical,
                lid,
            })
            .collect();
        numbers.sort_by_key(|known| known.number);
        let mut groups: Vec<_> = self
            .groups
            .all()
            .filter_map(|(place, group)| {
                Some(Group {
                    id: place.group_id()?,
                    subject: group.subject.clone(),
                    members: group.members.clone(),
                })
            })
            .collect();
        groups.sort_by(|one, other| one.id.cmp(&other.id));
        Durable {
            secret: Bytes(self.settings.secret.to_vec()),
            accounts: self.accounts.durable(),
            numbers,
            groups,
        }
    }

    /// Takes over what another world remembered. What makes no sense, or too much, is left out.
    pub(crate) fn remember(&mut self, durable: Durable) {
        for account in &durable.accounts {
            self.accounts.remember(account);
        }
        for known in durable.numbers {
            let _ = self.numbers.set(known.number, known.canonical, known.lid);
        }
        for group in durable.groups {
            if let Ok(place) = group.id.parse::<Place>() {
                let _ = self.set_group(place, group.subject, group.members);
            }
        }
    }
}

impl std::fmt::Debug for Bytes {
    /// Only how many: they are keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}
