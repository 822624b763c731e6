//! The phone that links devices: its keys, and its half of the cryptography of both ways to pair.

use rand::rngs::StdRng;
use whatsapp_rust::buffa::Message;
use whatsapp_rust::wacore::crypto::hkdf_sha256_into;
use whatsapp_rust::wacore::libsignal::crypto::{aes_256_gcm_decrypt, hmac_sha256};
use whatsapp_rust::wacore::libsignal::protocol::{
    IdentityKey, IdentityKeyPair, KeyPair, PrivateKey, PublicKey,
};
use whatsapp_rust::wacore::pair::PairUtils;
use whatsapp_rust::wacore::pair_code::PairCodeUtils;
use whatsapp_rust::waproto::whatsapp::{
    ADVDeviceIdentity, ADVKeyIndexList, ADVSignedDeviceIdentity, ADVSignedDeviceIdentityHMAC,
    ADVSignedKeyIndexList, ClientPairingProps,
};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::world::{Bundle, Companion, CompanionFinish, LinkOffer, Number, PairError, SignedKey};

/// What an account signature covers besides the details and the device's key.
const ACCOUNT_SIGNATURE: [u8; 2] = [6, 0];

/// What the signature of a list of devices covers besides the list.
const DEVICE_LIST_SIGNATURE: [u8; 2] = [6, 2];

/// The number of a phone's installation, in all that it signs.
const RAW_ID: u32 = 1;

/// One account's phone. Its keys follow from the number, so that nothing has to be kept.
#[derive(Clone)]
pub(crate) struct Phone {
    identity: KeyPair,
    /// What its other keys follow from.
    seed: [u8; 32],
}

/// What a scanned QR code says about the device that shows it.
pub(crate) struct ScannedCode {
    pub(crate) reference: String,
    pub(crate) noise_key: [u8; 32],
    pub(crate) identity: [u8; 32],
    adv_secret: [u8; 32],
}

/// What `pair-success` carries.
pub(crate) struct PairingKeys {
    pub(crate) device_identity: Vec<u8>,
    /// Says that the account's chats have moved to LIDs.
    pub(crate) lid_migrated: Vec<u8>,
}

/// What the phone says first when a link code was entered.
pub(crate) struct PrimaryHello {
    pub(crate) reference: String,
    pub(crate) wrapped_ephemeral: [u8; 80],
    pub(crate) identity: [u8; 32],
}

/// A link code exchange that waits for the device's last word.
pub(crate) struct Exchange {
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
    reference: String,
}

impl ScannedCode {
    /// # Errors
    /// [`PairError::NotAQrCode`].
    pub(crate) fn read(text: &str) -> Result<Self, PairError> {
        let (reference, noise_key, identity) =
            PairUtils::parse_qr_code(text.trim()).map_err(|_| PairError::NotAQrCode)?;
        let secret = text
            .trim()
            .split(',')
            .nth(3)
            .and_then(|field| BASE64_STANDARD.decode(field).ok());
        let adv_secret = secret
            .and_then(|secret| secret.try_into().ok())
            .ok_or(PairError::NotAQrCode)?;
        Ok(Self {
            reference,
            noise_key,
            identity,
            adv_secret,
        })
    }
}

impl Phone {
    pub(crate) fn of(number: Number, secret: &[u8; 32]) -> Self {
        let seed = hmac_sha256(secret, format!("phone {number}").as_bytes());
        Self {
            identity: pair(&seed),
            seed,
        }
    }

    /// What others need for a first message to the phone, with its one-time key of this number.
    pub(crate) fn bundle(&self, one_time: u32) -> Bundle {
        Bundle {
            registration: self.registration(),
            identity: raw(&self.identity),
            signed: self.signed_key(),
            one_time: Some((one_time, raw(&self.one_time_pair(one_time)))),
        }
    }

    pub(crate) fn identity_pair(&self) -> IdentityKeyPair {
        let public = IdentityKey::new(self.identity.public_key);
        IdentityKeyPair::new(public, self.identity.private_key.clone())
    }

    /// The number of the phone's Signal installation: 14 bits, not 0.
    pub(crate) fn registration(&self) -> u32 {
        1 + u32::from(u16::from_be_bytes([self.seed[0], self.seed[1]]) & 0x3ffe)
    }

    pub(crate) fn signed_pair(&self) -> KeyPair {
        self.derived("signed pre-key")
    }

    /// The phone's only signed pre-key.
    pub(crate) fn signed_key(&self) -> SignedKey {
        let signed = self.signed_pair();
        let signature = self
            .identity
            .calculate_signature(&signed.public_key.serialize(), &mut rng())
            .expect("a phone's key signs");
        SignedKey {
            id: 1,
            value: raw(&signed),
            signature,
        }
    }

    pub(crate) fn one_time_pair(&self, number: u32) -> KeyPair {
        self.derived(&format!("one-time pre-key {number}"))
    }

    /// The phone's signed list of its linked devices (`ADVSignedKeyIndexList`).
    pub(crate) fn device_list(&self, ids: &[u16], unix_secs: u64) -> Vec<u8> {
        let details = ADVKeyIndexList {
            raw_id: Some(RAW_ID),
            timestamp: Some(unix_secs),
            current_index: ids.iter().copied().max().map(u32::from),
            valid_indexes: ids.iter().copied().map(u32::from).collect(),
            ..Default::default()
        }
        .encode_to_vec();
        let signed = [&DEVICE_LIST_SIGNATURE[..], &details].concat();
        let signature = self
            .identity
            .calculate_signature(&signed, &mut rng())
            .expect("a phone's key signs");
        ADVSignedKeyIndexList {
            details: Some(details),
            account_signature: Some(signature.to_vec()),
            account_signature_key: Some(raw(&self.identity).to_vec()),
        }
        .encode_to_vec()
    }

    /// The key to the account's app state.
    pub(crate) fn sync_key(&self) -> [u8; 32] {
        hmac_sha256(&self.seed, b"app state key")
    }

    /// What the encryption of the account's name starts from.
    pub(crate) fn sync_iv(&self) -> [u8; 16] {
        let digest = hmac_sha256(&self.seed, b"app state iv");
        std::array::from_fn(|at| digest[at])
    }

    fn derived(&self, label: &str) -> KeyPair {
        pair(&hmac_sha256(&self.seed, label.as_bytes()))
    }

    /// The keys that bind a device with this identity to the account.
    pub(crate) fn companion(&self, identity: [u8; 32]) -> Companion {
        Companion {
            identity,
            account: raw(&self.identity),
        }
    }

    /// The keys for the device that shows `code`.
    pub(crate) fn keys_for_code(&self, code: &ScannedCode, key_index: u16, unix_secs: u64) -> PairingKeys {
        self.keys(&code.identity, &code.adv_secret, key_index, unix_secs)
    }

    /// Opens a link code exchange with a device that shows `code`. Takes tens of milliseconds of computing:
    /// the code is short, so the key is derived slowly.
    pub(crate) fn open(&self, code: &str, offer: &LinkOffer) -> Result<(PrimaryHello, Exchange), PairError> {
        let wrapped = &offer.wrapped_ephemeral;
        let companion_ephemeral = PairCodeUtils::decrypt_primary_ephemeral_pub(wrapped, code)
            .map_err(|_| PairError::NotALinkCode)?;
        let ephemeral = KeyPair::generate(&mut rng());
        let hello = PrimaryHello {
            reference: offer.reference.clone(),
            wrapped_ephemeral: PairCodeUtils::encrypt_ephemeral_pub(&raw(&ephemeral), code),
            identity: raw(&self.identity),
        };
        let exchange = Exchange {
            ephemeral,
            companion_ephemeral,
            reference: offer.reference.clone(),
        };
        Ok((hello, exchange))
    }

    /// The keys for the device that ends `exchange` with `finish`.
    ///
    /// # Errors
    /// [`PairError::WrongLinkCode`] when the device used another code: only then do the keys differ.
    pub(crate) fn finish(
        &self,
        exchange: &Exchange,
        finish: &CompanionFinish,
        key_index: u16,
        unix_secs: u64,
    ) -> Result<PairingKeys, PairError> {
        if finish.reference != exchange.reference.as_bytes() {
            return Err(PairError::WrongLinkCode);
        }
        let shared = agree(&exchange.ephemeral, &exchange.companion_ephemeral)?;
        let bundle = open_bundle(&shared, &finish.wrapped_bundle).ok_or(PairError::WrongLinkCode)?;
        let (identities, random) = bundle.split_at(64);
        if identities[..32] != finish.identity || identities[32..] != raw(&self.identity) {
            return Err(PairError::WrongLinkCode);
        }
        let identity_shared = agree(&self.identity, &finish.identity)?;
        let mut adv_secret = [0; 32];
        let secrets = [&shared[..], &identity_shared, random].concat();
        hkdf_sha256_into(&secrets, None, b"adv_secret", &mut adv_secret)
            .map_err(|_| PairError::WrongLinkCode)?;
        Ok(self.keys(&finish.identity, &adv_secret, key_index, unix_secs))
    }

    fn keys(&self, device: &[u8; 32], adv_secret: &[u8; 32], key_index: u16, unix_secs: u64) -> PairingKeys {
        let details = ADVDeviceIdentity {
            raw_id: Some(RAW_ID),
            timestamp: Some(unix_secs),
            key_index: Some(key_index.into()),
            ..Default::default()
        }
        .encode_to_vec();
        let signed = [&ACCOUNT_SIGNATURE[..], &details, device].concat();
        let signature = self
            .identity
            .calculate_signature(&signed, &mut rng())
            .expect("a phone's key signs");
        let identity = ADVSignedDeviceIdentity {
            details: Some(details),
            account_signature_key: Some(raw(&self.identity).to_vec()),
            account_signature: Some(signature.to_vec()),
            ..Default::default()
        }
        .encode_to_vec();
        let hmac = hmac_sha256(adv_secret, &identity).to_vec();
        let device_identity = ADVSignedDeviceIdentityHMAC {
            details: Some(identity),
            hmac: Some(hmac),
            ..Default::default()
        };
        let props = ClientPairingProps {
            is_chat_db_lid_migrated: Some(true),
            ..Default::default()
        };
        PairingKeys {
            device_identity: device_identity.encode_to_vec(),
            lid_migrated: props.encode_to_vec(),
        }
    }
}

/// `ABCD-EFGH`, `abcdefgh` and `ABCD EFGH` are the same code.
///
/// # Errors
/// [`PairError::NotALinkCode`].
pub(crate) fn read_link_code(text: &str) -> Result<String, PairError> {
    let code: String = text
        .chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .collect::<String>()
        .to_ascii_uppercase();
    if PairCodeUtils::validate_code(&code) {
        Ok(code)
    } else {
        Err(PairError::NotALinkCode)
    }
}

/// `salt (32) ‖ nonce (12) ‖ sealed bundle (96 + 16)`.
fn open_bundle(shared: &[u8; 32], wrapped: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = wrapped.split_first_chunk::<32>()?;
    let (nonce, sealed) = rest.split_first_chunk::<12>()?;
    let mut key = [0; 32];
    let info = b"link_code_pairing_key_bundle_encryption_key";
    hkdf_sha256_into(shared, Some(salt), info, &mut key).ok()?;
    let mut bundle = Vec::with_capacity(96);
    aes_256_gcm_decrypt(&key, nonce, b"", sealed, &mut bundle).ok()?;
    (bundle.len() == 96).then_some(bundle)
}

fn agree(own: &KeyPair, their: &[u8; 32]) -> Result<[u8; 32], PairError> {
    let their = PublicKey::from_djb_public_key_bytes(their).map_err(|_| PairError::WrongLinkCode)?;
    own.calculate_agreement(&their)
        .map_err(|_| PairError::WrongLinkCode)
}

fn pair(private: &[u8; 32]) -> KeyPair {
    let private = PrivateKey::deserialize(private).expect("a private key is any 32 bytes");
    let public = private.public_key().expect("a private key has a public one");
    KeyPair::new(public, private)
}

fn raw(pair: &KeyPair) -> [u8; 32] {
    pair.public_key
        .public_key_bytes()
        .try_into()
        .expect("a public key has 32 bytes")
}

fn rng() -> StdRng {
    rand::make_rng()
}
