//! Linking a device to an account: what the server keeps track of. The phone's cryptography is elsewhere.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::crypto::hmac_sha256;
use whatsapp_rust::wacore::libsignal::protocol::PublicKey;
use whatsapp_rust::waproto::whatsapp::ADVSignedDeviceIdentity;

use super::account::Linked;
use super::delivery::{Mailbox, Push};
use super::logins::Logins;
use super::{ConnectionId, Device, Effect, Farewell, Lid, Number, User, World};

/// A client shows its first QR code this long, and each of the others that much.
const FIRST_CODE: Duration = Duration::from_secs(60);
const OTHER_CODES: Duration = Duration::from_secs(20);
const CODES: u32 = 6;

/// What a device's signature covers besides the details and the two keys.
const DEVICE_SIGNATURE: [u8; 2] = [6, 1];

/// How long a link code can be entered.
const LINK_CODE: Duration = Duration::from_secs(180);

/// Why a phone could not link a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The text is no QR code of a WhatsApp device.
    #[error("not the text of a WhatsApp QR code")]
    NotAQrCode,
    /// No connected device shows this code: it is another server's, or its device is gone.
    #[error("no connected device shows this QR code")]
    UnknownQrCode,
    /// The device shows another code by now.
    #[error("this QR code has expired")]
    ExpiredQrCode,
    /// The text is not eight characters of a link code's alphabet.
    #[error("not a link code: it has eight letters and digits")]
    NotALinkCode,
    /// No connected device asked for a link code for this number.
    #[error("no connected device waits for a link code for this number")]
    NoLinkCode,
    /// The device asked for the code too long ago.
    #[error("this link code has expired")]
    ExpiredLinkCode,
    /// The device derived other keys from its code.
    #[error("this is not the link code that the device shows")]
    WrongLinkCode,
    /// The phone has as many linked devices as it can have.
    #[error("this phone has {0} linked devices, which is as many as it can have")]
    TooManyDevices(usize),
    /// There are as many accounts as the sandbox can have.
    #[error("the sandbox has as many accounts as it can have")]
    TooManyAccounts,
    /// The device is being linked already.
    #[error("this device is being linked already")]
    Busy,
    /// The device hung up before it was linked.
    #[error("the device hung up before it was linked")]
    Gone,
    /// The device refused the phone's keys.
    #[error("the device refused: {0}")]
    Refused(String),
    /// The device did not answer in time.
    #[error("the device did not answer in time")]
    Late,
}

/// What a phone that scanned a valid code sends its keys for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanOffer {
    pub(crate) connection: ConnectionId,
    pub(crate) noise_key: [u8; 32],
    pub(crate) device: Device,
    pub(crate) lid: Lid,
    pub(crate) lid_migrated: bool,
    pub(crate) nameless: bool,
}

/// The keys with which a device that is being linked is bound to its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Companion {
    /// The device's identity.
    pub(crate) identity: [u8; 32],
    /// The phone's identity.
    pub(crate) account: [u8; 32],
}

impl Companion {
    /// Whether both keys stand behind `device_identity` (an `ADVSignedDeviceIdentity`): the phone's signature is
    /// over the details and the device's key, the device's over those and the phone's key.
    fn signed(&self, device_identity: &[u8]) -> bool {
        let Ok(signed) = ADVSignedDeviceIdentity::decode_from_slice(device_identity) else {
            return false;
        };
        let (Some(details), Some(signature)) = (signed.details, signed.device_signature) else {
            return false;
        };
        let message = [&DEVICE_SIGNATURE[..], &details, &self.identity, &self.account].concat();
        PublicKey::from_djb_public_key_bytes(&self.identity)
            .is_ok_and(|identity| identity.verify_signature(&message, &signature))
    }
}

/// What a phone needs to answer a device that asked for a link code.
#[derive(Clone, Debug)]
pub(crate) struct LinkOffer {
    pub(crate) connection: ConnectionId,
    pub(crate) reference: String,
    pub(crate) wrapped_ephemeral: [u8; 80],
}

/// The device's last word in the exchange that a link code starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompanionFinish {
    pub(crate) reference: Vec<u8>,
    pub(crate) wrapped_bundle: Vec<u8>,
    pub(crate) identity: [u8; 32],
}

/// How far linking is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    Linked,
    Failed(PairError),
}

/// What a connection that is being linked waits for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    device: Option<(Device, Companion)>,
    refused: Option<String>,
    finish: Option<CompanionFinish>,
}

impl Waiting {
    /// The device number that was offered and not taken yet.
    pub(super) fn offered(&self) -> Option<Device> {
        self.device.map(|(device, _)| device)
    }
}

/// What is due after devices confirmed that they are linked. Both times are the same for all devices, so the
/// first of each queue is the one that is due first.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    registrations: VecDeque<(Duration, Registration)>,
    restarts: VecDeque<(Duration, ConnectionId)>,
}

#[derive(Clone, Debug)]
struct Registration {
    connection: ConnectionId,
    device: Device,
    linked: Linked,
}

impl Confirmed {
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        let registration = self.registrations.front().map(|(due, _)| *due);
        let restart = self.restarts.front().map(|(due, _)| *due);
        registration.into_iter().chain(restart).min()
    }

    fn is_registering(&self, device: Device) -> bool {
        self.registrations
            .iter()
            .any(|(_, registration)| registration.device == device)
    }
}

#[derive(Debug, Default)]
pub(super) struct Codes {
    references: HashMap<String, Reference>,
    link_codes: HashMap<Number, PendingLinkCode>,
}

#[derive(Debug)]
struct Reference {
    connection: ConnectionId,
    expires_at: Duration,
}

#[derive(Debug)]
struct PendingLinkCode {
    offer: LinkOffer,
    expires_at: Duration,
}

impl Codes {
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.references
            .retain(|_, reference| reference.connection != connection);
        self.link_codes
            .retain(|_, link| link.offer.connection != connection);
    }
}

impl World {
    pub(super) fn issue_references(&mut self, now: Duration, connection: ConnectionId) -> Vec<String> {
        (0..CODES)
            .map(|nth| {
                let reference = self.new_reference();
                let expires_at = now + FIRST_CODE + OTHER_CODES * nth;
                self.codes.references.insert(
                    reference.clone(),
                    Reference {
                        connection,
                        expires_at,
                    },
                );
                reference
            })
            .collect()
    }

    /// The phone of `number` scanned a QR code.
    pub(crate) fn scan(
        &mut self,
        now: Duration,
        number: Number,
        reference: &str,
        noise_key: &[u8; 32],
        companion: Companion,
    ) -> Result<ScanOffer, PairError> {
        let found = self
            .codes
            .references
            .get(reference)
            .ok_or(PairError::UnknownQrCode)?;
        if now >= found.expires_at {
            return Err(PairError::ExpiredQrCode);
        }
        let connection = found.connection;
        if self
            .connections
            .get(connection)
            .is_none_or(|c| c.noise_key != *noise_key)
        {
            return Err(PairError::UnknownQrCode);
        }
        self.offer_device(connection, number, companion)
    }

    /// A device asked for a link code that `number` will enter. Returns the reference of the exchange.
    pub(super) fn wait_for_link(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        number: Number,
        wrapped_ephemeral: [u8; 80],
    ) -> String {
        let reference = self.new_reference();
        let offer = LinkOffer {
            connection,
            reference: reference.clone(),
            wrapped_ephemeral,
        };
        // A device waits for one number at a time; asking for another gives the first up.
        self.codes
            .link_codes
            .retain(|_, link| link.offer.connection != connection);
        let owner = self.numbers.canonical(number).unwrap_or(number);
        self.codes.link_codes.insert(
            owner,
            PendingLinkCode {
                offer,
                expires_at: now + LINK_CODE,
            },
        );
        if let Some(waiting) = self.connections.get_mut(connection) {
            waiting.waiting.finish = None;
        }
        reference
    }

    /// The owner of `number` is about to enter a link code.
    pub(crate) fn link(&mut self, now: Duration, number: Number) -> Result<LinkOffer, PairError> {
        let link = self.codes.link_codes.get(&number).ok_or(PairError::NoLinkCode)?;
        if now >= link.expires_at {
            return Err(PairError::ExpiredLinkCode);
        }
        let offer = link.offer.clone();
        let waiting = self
            .connections
            .get_mut(offer.connection)
            .ok_or(PairError::Gone)?;
        waiting.waiting.finish = None;
        Ok(offer)
    }

    /// The device's last word after a link code was entered, once it came.
    pub(crate) fn finish_of(&self, connection: ConnectionId) -> Option<Result<CompanionFinish, PairError>> {
        match self.connections.get(connection) {
            None => Some(Err(PairError::Gone)),
            Some(connection) => connection.waiting.finish.clone().map(Ok),
        }
    }

    pub(super) fn finish_link(&mut self, connection: ConnectionId, finish: CompanionFinish) {
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.waiting.finish = Some(finish);
        }
    }

    /// Reserves a place among `number`'s devices for the device at the other end of `connection`.
    pub(crate) fn offer_device(
        &mut self,
        connection: ConnectionId,
        number: Number,
        companion: Companion,
    ) -> Result<ScanOffer, PairError> {
        let devices = self.accounts.devices_and_offers(number);
        if devices >= self.settings.max_devices {
            return Err(PairError::TooManyDevices(devices));
        }
        if self.accounts.is_full(number) {
            return Err(PairError::TooManyAccounts);
        }
        let id = self
            .accounts
            .next_device(number)
            .ok_or(PairError::TooManyDevices(devices))?;
        let device = Device { number, id };
        let waiting = self.connections.get_mut(connection).ok_or(PairError::Gone)?;
        if waiting.device.is_some() || waiting.waiting.device.is_some() {
            return Err(PairError::Busy);
        }
        waiting.waiting.device = Some((device, companion));
        waiting.waiting.refused = None;
        let noise_key = waiting.noise_key;
        self.accounts.offer(device);
        let lid = self.lid_of(number).unwrap_or(Lid::nth(0));
        let lid_migrated = self.is_lid_migrated(number);
        Ok(ScanOffer {
            connection,
            noise_key,
            device,
            lid,
            lid_migrated,
            nameless: self.settings.nameless,
        })
    }

    /// The device signed the phone's keys: it will be registered, then told to connect again.
    pub(super) fn pair_signed(&mut self, now: Duration, connection: ConnectionId, device_identity: Vec<u8>) {
        let Some(signed) = self.connections.get_mut(connection) else {
            return;
        };
        let Some((device, companion)) = signed.waiting.device.take() else {
            return;
        };
        let linked = Linked {
            noise_key: signed.noise_key,
            identity: companion.identity,
            device_identity,
            keys: None,
            mailbox: Mailbox::default(),
            logins: Logins::default(),
        };
        let registration = Registration {
            connection,
            device,
            linked,
        };
        self.codes.forget(connection);
        let due = now + self.settings.register_after;
        self.confirmed.registrations.push_back((due, registration));
        self.register_due(now);
    }

    /// Registers the devices whose time has come, and tells those that wait for it to connect again.
    pub(super) fn register_due(&mut self, now: Duration) {
        while self
            .confirmed
            .registrations
            .front()
            .is_some_and(|(due, _)| *due <= now)
            && let Some((due, registration)) = self.confirmed.registrations.pop_front()
        {
            let Registration {
                connection,
                device,
                linked,
            } = registration;
            self.accounts.link(device, linked);
            self.devices_changed(device);
            let restart = due + self.settings.restart_after;
            self.confirmed.restarts.push_back((restart, connection));
        }
        while let Some(&(due, connection)) = self.confirmed.restarts.front()
            && due <= now
        {
            self.confirmed.restarts.pop_front();
            let restart = Farewell::StreamError {
                code: 515,
                hang_up: true,
            };
            self.effects.push_back(Effect::Dismiss(connection, restart));
        }
    }

    /// Whether the device's signature on what it confirms is its own.
    pub(super) fn is_confirmed(&self, connection: ConnectionId, device_identity: &[u8]) -> bool {
        let waiting = self.connections.get(connection).and_then(|c| c.waiting.device);
        waiting.is_none_or(|(_, companion)| companion.signed(device_identity))
    }

    /// The account's other devices are told that it has one more, or one less.
    pub(super) fn devices_changed(&mut self, device: Device) {
        let push = Push::OwnDevices {
            of: User::Number(device.number),
            ids: self.accounts.device_ids(device.number),
        };
        self.push_to(device.number, &push, |connection| {
            connection.device != Some(device)
        });
    }

    pub(super) fn pair_refused(&mut self, connection: ConnectionId, text: String) {
        if let Some(refused) = self.connections.get_mut(connection)
            && let Some((device, _)) = refused.waiting.device.take()
        {
            refused.waiting.refused = Some(text);
            self.accounts.withdraw(device);
        }
    }

    /// The phone gave up on a device that did not answer.
    pub(crate) fn give_up(&mut self, connection: ConnectionId) {
        if let Some(late) = self.connections.get_mut(connection)
            && let Some((device, _)) = late.waiting.device.take()
        {
            self.accounts.withdraw(device);
        }
    }

    pub(crate) fn progress(&self, offer: &ScanOffer) -> Progress {
        if self.accounts.linked(&offer.noise_key) == Some(offer.device) {
            return Progress::Linked;
        }
        if self.confirmed.is_registering(offer.device) {
            return Progress::Waiting;
        }
        match self.connections.get(offer.connection) {
            None => Progress::Failed(PairError::Gone),
            Some(connection) => match &connection.waiting.refused {
                Some(text) => Progress::Failed(PairError::Refused(text.clone())),
                None => Progress::Waiting,
            },
        }
    }

    fn new_reference(&mut self) -> String {
        self.last_reference += 1;
        let digest = hmac_sha256(&self.settings.secret, &self.last_reference.to_be_bytes());
        format!("2@{}", BASE64_STANDARD.encode(digest))
    }
}
