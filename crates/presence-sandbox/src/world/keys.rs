//! The public keys that devices upload, with which others encrypt messages for them.

use std::collections::{BTreeSet, VecDeque};

use whatsapp_rust::wacore::libsignal::crypto::CryptographicHash;
use whatsapp_rust::wacore::libsignal::protocol::PublicKey;

use super::durable::{Bytes, KeysState};

/// How many one-time keys a device can have on the server. Clients upload 812 at most.
const MAX_ONE_TIME: usize = 2000;

/// How many used keys are remembered, so that they are not taken again.
const MAX_USED: usize = 100_000;

/// A signed pre-key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedKey {
    pub(crate) id: u32,
    pub(crate) value: [u8; 32],
    pub(crate) signature: [u8; 64],
}

/// What a device uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedKey,
    pub(crate) one_time: Vec<(u32, [u8; 32])>,
}

/// What somebody needs to encrypt a first message for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedKey,
    pub(crate) one_time: Option<(u32, [u8; 32])>,
}

/// What the server has of a device's keys, for the device to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) registration: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedKey,
    pub(crate) ids: Vec<u32>,
    pub(crate) hash: Vec<u8>,
}

/// Why keys are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidKeys {
    /// The device's identity did not sign the signed pre-key.
    Signature,
    /// A one-time key that was given out already.
    Used,
}

/// The keys of one device.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    registration: u32,
    identity: [u8; 32],
    signed: SignedKey,
    one_time: VecDeque<(u32, [u8; 32])>,
    used: BTreeSet<u32>,
}

impl Keys {
    /// Takes an upload over what was uploaded before.
    pub(super) fn upload(before: Option<Self>, upload: Upload) -> Result<Self, InvalidKeys> {
        verify(&upload.identity, &upload.signed)?;
        let (mut one_time, used) = match before {
            // A device that was set up anew under an old number starts over.
            Some(before) if before.identity == upload.identity => (before.one_time, before.used),
            _ => Default::default(),
        };
        if upload.one_time.iter().any(|(id, _)| used.contains(id)) {
            return Err(InvalidKeys::Used);
        }
        for (id, value) in upload.one_time {
            one_time.retain(|(known, _)| *known != id);
            if one_time.len() < MAX_ONE_TIME {
                one_time.push_back((id, value));
            }
        }
        Ok(Self {
            registration: upload.registration,
            identity: upload.identity,
            signed: upload.signed,
            one_time,
            used,
        })
    }

    pub(super) fn rotate(&mut self, signed: SignedKey) -> Result<(), InvalidKeys> {
        verify(&self.identity, &signed)?;
        self.signed = signed;
        Ok(())
    }

    pub(super) fn durable(&self) -> KeysState {
        let one_time = self.one_time.iter();
        KeysState {
            registration: self.registration,
            signed_id: self.signed.id,
            signed_value: Bytes(self.signed.value.to_vec()),
            signed_signature: Bytes(self.signed.signature.to_vec()),
            one_time: one_time.map(|(id, value)| (*id, Bytes(value.to_vec()))).collect(),
            used: self.used.clone(),
        }
    }

    pub(super) fn remember(identity: [u8; 32], state: &KeysState) -> Option<Self> {
        let one_time = state.one_time.iter().take(MAX_ONE_TIME);
        Some(Self {
            registration: state.registration,
            identity,
            signed: SignedKey {
                id: state.signed_id,
                value: state.signed_value.array()?,
                signature: state.signed_signature.array()?,
            },
            one_time: one_time
                .map(|(id, value)| Some((*id, value.array()?)))
                .collect::<Option<_>>()?,
            used: state.used.clone(),
        })
    }

    pub(super) fn left(&self) -> usize {
        self.one_time.len()
    }

    /// A bundle for one message. Its one-time key is given to nobody else; without one left, there is none.
    pub(super) fn take(&mut self) -> Bundle {
        let one_time = self.one_time.pop_front();
        if let Some((id, _)) = one_time {
            self.used.insert(id);
            if self.used.len() > MAX_USED {
                self.used.pop_first();
            }
        }
        Bundle {
            registration: self.registration,
            identity: self.identity,
            signed: self.signed.clone(),
            one_time,
        }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut material = Vec::new();
        material.extend(self.identity);
        material.extend(self.signed.value);
        material.extend(self.signed.signature);
        for (_, value) in &self.one_time {
            material.extend(value);
        }
        let mut hash = Vec::new();
        if let Ok(mut sha) = CryptographicHash::new("SHA-1") {
            sha.update(&material);
            hash = sha.finalize().to_vec();
        }
        Digest {
            registration: self.registration,
            identity: self.identity,
            signed: self.signed.clone(),
            ids: self.one_time.iter().map(|(id, _)| *id).collect(),
            hash,
        }
    }
}

fn verify(identity: &[u8; 32], signed: &SignedKey) -> Result<(), InvalidKeys> {
    let identity = PublicKey::from_djb_public_key_bytes(identity).map_err(|_| InvalidKeys::Signature)?;
    let value = PublicKey::from_djb_public_key_bytes(&signed.value).map_err(|_| InvalidKeys::Signature)?;
    match identity.verify_signature(&value.serialize(), &signed.signature) {
        true => Ok(()),
        false => Err(InvalidKeys::Signature),
    }
}
