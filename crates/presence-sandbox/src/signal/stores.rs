//! What one phone keeps of its sessions, for the protocol library.

use std::collections::{HashMap, HashSet};

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::libsignal::protocol::{
    Direction, GenericSignedPreKey, IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore, PreKeyId,
    PreKeyRecord, PreKeyStore, ProtocolAddress, SenderKeyName, SenderKeyRecord, SenderKeyStore,
    SessionRecord, SessionStore, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore,
    Timestamp,
};

use crate::phone::Phone;

type Result<T> = std::result::Result<T, SignalProtocolError>;

pub(super) struct Stores {
    pub(super) sessions: Sessions,
    pub(super) identities: Identities,
    pub(super) pre_keys: PreKeys,
    pub(super) signed_pre_keys: SignedPreKeys,
    pub(super) sender_keys: SenderKeys,
}

impl Stores {
    pub(super) fn new(phone: Phone) -> Self {
        Self {
            sessions: Sessions::default(),
            identities: Identities {
                own: phone.identity_pair(),
                registration: phone.registration(),
                known: HashMap::new(),
            },
            signed_pre_keys: SignedPreKeys(phone.clone()),
            pre_keys: PreKeys {
                phone,
                used: HashSet::new(),
            },
            sender_keys: SenderKeys::default(),
        }
    }
}

#[derive(Default)]
pub(super) struct Sessions(HashMap<String, SessionRecord>);

impl Sessions {
    pub(super) fn has(&self, address: &ProtocolAddress) -> bool {
        self.0.contains_key(address.as_str())
    }

    pub(super) fn forget(&mut self, address: &ProtocolAddress) {
        self.0.remove(address.as_str());
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.get(address.as_str()).cloned())
    }

    async fn has_session(&self, address: &ProtocolAddress) -> Result<bool> {
        Ok(self.has(address))
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        self.0.insert(address.as_str().to_owned(), record);
        Ok(())
    }
}

pub(super) struct Identities {
    own: IdentityKeyPair,
    registration: u32,
    known: HashMap<String, IdentityKey>,
}

#[async_trait]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.own.clone())
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration)
    }

    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> Result<IdentityChange> {
        let before = self.known.insert(address.as_str().to_owned(), *identity);
        Ok(match before {
            Some(before) if before != *identity => IdentityChange::ReplacedExisting,
            _ => IdentityChange::NewOrUnchanged,
        })
    }

    /// A device that was linked anew has another identity, and a phone takes that.
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(self.known.get(address.as_str()).copied())
    }
}

/// A phone's one-time keys follow from their numbers; each is good once.
pub(super) struct PreKeys {
    phone: Phone,
    used: HashSet<u32>,
}

impl PreKeys {
    pub(super) fn used(&mut self, id: u32) {
        self.used.insert(id);
    }
}

#[async_trait]
impl PreKeyStore for PreKeys {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        let number = u32::from(id);
        if self.used.contains(&number) {
            return Err(SignalProtocolError::InvalidPreKeyId);
        }
        Ok(PreKeyRecord::new(id, &self.phone.one_time_pair(number)))
    }

    async fn save_pre_key(&mut self, _: PreKeyId, _: &PreKeyRecord) -> Result<()> {
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<()> {
        self.used(id.into());
        Ok(())
    }
}

pub(super) struct SignedPreKeys(Phone);

#[async_trait]
impl SignedPreKeyStore for SignedPreKeys {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        let signed = self.0.signed_key();
        if u32::from(id) != signed.id {
            return Err(SignalProtocolError::InvalidSignedPreKeyId);
        }
        Ok(SignedPreKeyRecord::new(
            id,
            Timestamp::from_epoch_millis(0),
            &self.0.signed_pair(),
            &signed.signature,
        ))
    }

    async fn save_signed_pre_key(&mut self, _: SignedPreKeyId, _: &SignedPreKeyRecord) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct SenderKeys(HashMap<SenderKeyName, SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(&mut self, name: &SenderKeyName, record: SenderKeyRecord) -> Result<()> {
        self.0.insert(name.clone(), record);
        Ok(())
    }

    async fn load_sender_key(&self, name: &SenderKeyName) -> Result<Option<SenderKeyRecord>> {
        Ok(self.0.get(name).cloned())
    }
}
