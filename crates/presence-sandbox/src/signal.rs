//! The phones' half of end-to-end encryption: their Signal sessions with each other and with linked devices.
//!
//! The phones' own keys follow from their numbers, so only what grows is kept. Everything is in memory, so no
//! future of the protocol library ever waits.

mod stores;

use std::collections::HashMap;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::protocol::{
    CiphertextMessage, CiphertextMessageType, IdentityKey, PreKeyBundle, PreKeySignalMessage,
    ProtocolAddress, PublicKey, SenderKeyDistributionMessage, SenderKeyName, SignalMessage,
    SignalProtocolError, UsePQRatchet, create_sender_key_distribution_message, group_decrypt, group_encrypt,
    message_decrypt, message_encrypt, process_prekey_bundle, process_sender_key_distribution_message,
};
use whatsapp_rust::wacore::messages::MessageUtils;
use whatsapp_rust::waproto::whatsapp as wa;

use crate::phone::Phone;
use crate::world::{Bundle, Device, Number, Sealed};
use stores::Stores;

/// How many phones can ever have encrypted anything. When there are more, none is added.
const MAX_PHONES: usize = 100_000;

/// Why something could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SignalError {
    #[error("the Signal protocol refused")]
    Protocol(#[from] SignalProtocolError),
    #[error("the device has no keys here")]
    NoKeys,
    #[error("an unknown kind of content")]
    Kind,
    #[error("what was decrypted is no message")]
    NoMessage,
    #[error("as many phones as there can be have encrypted something")]
    TooManyPhones,
    #[error("the protocol library waited for something")]
    Waited,
}

/// What all phones encrypt with.
pub(crate) struct Signal {
    secret: [u8; 32],
    phones: HashMap<Number, Stores>,
}

impl Signal {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            phones: HashMap::new(),
        }
    }

    pub(crate) fn has_session(&self, phone: Number, with: Device) -> bool {
        let stores = self.phones.get(&phone);
        stores.is_some_and(|stores| stores.sessions.has(&address(with)))
    }

    /// Starts a session with a device that has this bundle.
    pub(crate) fn begin(&mut self, phone: Number, with: Device, bundle: &Bundle) -> Result<(), SignalError> {
        let key = |bytes: &[u8; 32]| PublicKey::from_djb_public_key_bytes(bytes);
        let one_time = match &bundle.one_time {
            Some((id, value)) => Some(((*id).into(), key(value).map_err(SignalProtocolError::from)?)),
            None => None,
        };
        let bundle = PreKeyBundle::new(
            bundle.registration,
            u32::from(with.id).into(),
            one_time,
            bundle.signed.id.into(),
            key(&bundle.signed.value).map_err(SignalProtocolError::from)?,
            bundle.signed.signature.to_vec(),
            IdentityKey::new(key(&bundle.identity).map_err(SignalProtocolError::from)?),
        )?;
        let mut rng = rng();
        let stores = self.stores(phone)?;
        let address = address(with);
        let begun = process_prekey_bundle(
            &address,
            &mut stores.sessions,
            &mut stores.identities,
            &bundle,
            &mut rng,
            UsePQRatchet::No,
        );
        begun.now_or_never().ok_or(SignalError::Waited)??;
        Ok(())
    }

    /// Forgets a session, so that the next message starts another.
    pub(crate) fn forget(&mut self, phone: Number, with: Device) {
        if let Some(stores) = self.phones.get_mut(&phone) {
            stores.sessions.forget(&address(with));
        }
    }

    /// Encrypts for one device with which there is a session.
    pub(crate) fn seal(
        &mut self,
        phone: Number,
        device: Device,
        message: &wa::Message,
    ) -> Result<Sealed, SignalError> {
        let stores = self.stores(phone)?;
        let plain = MessageUtils::encode_and_pad(message);
        let address = address(device);
        let sealed = message_encrypt(&plain, &address, &mut stores.sessions, &mut stores.identities);
        let sealed = sealed.now_or_never().ok_or(SignalError::Waited)??;
        let kind = match sealed.message_type() {
            CiphertextMessageType::PreKey => "pkmsg",
            _ => "msg",
        };
        Ok(Sealed {
            kind: kind.to_owned(),
            bytes: sealed.serialize().to_vec(),
        })
    }

    /// Encrypts for all of a group. The first of the two is the key to the second, for each device.
    pub(crate) fn seal_for_group(
        &mut self,
        phone: Number,
        group: &str,
        message: &wa::Message,
    ) -> Result<(wa::Message, Sealed), SignalError> {
        let mut rng = rng();
        let stores = self.stores(phone)?;
        let name = sender_key(group, Device { number: phone, id: 0 });
        let key = create_sender_key_distribution_message(&name, &mut stores.sender_keys, &mut rng);
        let key = key.now_or_never().ok_or(SignalError::Waited)??;
        let distribution = wa::message::SenderKeyDistributionMessage {
            group_id: Some(format!("{group}@g.us")),
            axolotl_sender_key_distribution_message: Some(key.serialized().to_vec()),
        };
        let key = wa::Message {
            sender_key_distribution_message: whatsapp_rust::buffa::MessageField::some(distribution),
            ..Default::default()
        };
        let plain = MessageUtils::encode_and_pad(message);
        let sealed = group_encrypt(&mut stores.sender_keys, &name, &plain, &mut rng);
        let sealed = sealed.now_or_never().ok_or(SignalError::Waited)??;
        let sealed = Sealed {
            kind: "skmsg".to_owned(),
            bytes: sealed.serialized().to_vec(),
        };
        Ok((key, sealed))
    }

    /// Decrypts what a device sent to a phone, in a group or not.
    pub(crate) fn open(
        &mut self,
        phone: Number,
        from: Device,
        group: Option<&str>,
        sealed: &Sealed,
    ) -> Result<wa::Message, SignalError> {
        let stores = self.stores(phone)?;
        let mut plain = match (sealed.kind.as_str(), group) {
            ("skmsg", Some(group)) => {
                let name = sender_key(group, from);
                let opened = group_decrypt(&sealed.bytes, &mut stores.sender_keys, &name);
                opened.now_or_never().ok_or(SignalError::Waited)??
            }
            (kind @ ("pkmsg" | "msg"), _) => {
                let bytes = sealed.bytes.as_slice();
                let ciphertext = match kind {
                    "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
                    _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
                };
                let (address, mut rng) = (address(from), rng());
                let opened = message_decrypt(
                    &ciphertext,
                    &address,
                    &mut stores.sessions,
                    &mut stores.identities,
                    &mut stores.pre_keys,
                    &stores.signed_pre_keys,
                    &mut rng,
                    UsePQRatchet::No,
                );
                let opened = opened.now_or_never().ok_or(SignalError::Waited)??;
                if let Some(used) = opened.consumed_prekey_id {
                    stores.pre_keys.used(used.into());
                }
                opened.plaintext
            }
            _ => return Err(SignalError::Kind),
        };
        let length = MessageUtils::unpadded_message_len(&plain, 2).map_err(|_| SignalError::NoMessage)?;
        plain.truncate(length);
        let message = wa::Message::decode_from_slice(&plain).map_err(|_| SignalError::NoMessage)?;
        if let (Some(group), Some(key)) = (group, message.sender_key_distribution_message.as_option()) {
            let bytes = key
                .axolotl_sender_key_distribution_message
                .as_deref()
                .unwrap_or_default();
            let key = SenderKeyDistributionMessage::try_from(bytes)?;
            let name = sender_key(group, from);
            let taken = process_sender_key_distribution_message(&name, &key, &mut stores.sender_keys);
            taken.now_or_never().ok_or(SignalError::Waited)??;
        }
        Ok(message)
    }

    fn stores(&mut self, phone: Number) -> Result<&mut Stores, SignalError> {
        if self.phones.len() >= MAX_PHONES && !self.phones.contains_key(&phone) {
            return Err(SignalError::TooManyPhones);
        }
        let secret = self.secret;
        Ok(self
            .phones
            .entry(phone)
            .or_insert_with(|| Stores::new(Phone::of(phone, &secret))))
    }
}

fn address(device: Device) -> ProtocolAddress {
    ProtocolAddress::new(&device.number.to_string(), u32::from(device.id).into())
}

fn sender_key(group: &str, device: Device) -> SenderKeyName {
    SenderKeyName::new(group.to_owned(), format!("{}.{}", device.number, device.id))
}

fn rng() -> StdRng {
    rand::make_rng()
}
