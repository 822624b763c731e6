//! What is so, in the sandbox: whose devices are linked, who is connected, what each phone shows.
//!
//! [`World`] is pure. It reads no clock, does no IO and draws no random numbers: what happens is told to it
//! together with `now`, the time since the sandbox started, which never goes back; what follows for
//! connections comes out as [`Effect`]s, to be drained after every call. It is the only place that decides.

mod account;
mod answer;
mod connection;
mod connections;
mod delivery;
mod durable;
mod fault;
mod faults;
mod groups;
mod inbox;
mod journal;
mod keys;
mod logins;
mod lookup;
mod number;
mod numbers;
mod pairing;
mod refused;
mod request;
mod routing;
mod screen;
#[cfg(test)]
mod tests;
mod user;

use std::collections::VecDeque;
use std::time::Duration;

pub use fault::{Answer, Fault, FaultId, FaultKind, InvalidFault, When};
pub use groups::InvalidGroup;
pub use inbox::{PhoneMessage, PhoneReceipt};
pub use journal::{JournalEntry, JournalPage};
pub use logins::{DeviceLogins, DeviceLoginsPage};
pub use number::{InvalidNumber, Lid, Number};
pub use numbers::TooManyNumbers;
pub use pairing::PairError;
pub use refused::Refused;
pub use routing::SendError;
pub use screen::{Indicator, Place, Shown, Spell, State, Why};

pub(crate) use account::Device;
pub(crate) use connection::{Admission, Claim, ConnectionId, Farewell, REPLACED};
pub(crate) use delivery::{ChatStateOf, Message, Push, Receipt, Retry, Sealed};
pub(crate) use durable::Durable;
pub(crate) use groups::Group;
pub(crate) use inbox::PhoneSent;
pub(crate) use journal::Text;
pub(crate) use keys::{Bundle, Digest, SignedKey, Upload};
pub(crate) use pairing::{Companion, CompanionFinish, LinkOffer, Progress, ScanOffer};
pub(crate) use request::{
    Address, Asked, ForPhone, KeysOf, Reply, Request, Sent, SentReceipt, Treatment, UsyncAnswer,
    UsyncQuestion,
};
pub(crate) use user::{DeviceJid, User};

use account::Accounts;
use connections::Connections;
use faults::Faults;
use groups::Groups;
use inbox::Inboxes;
use journal::Journal;
use numbers::Numbers;
use pairing::{Codes, Confirmed};
use screen::Screens;

/// What a world is made with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a phone shows an indicator that is not renewed.
    pub(crate) expire_after: Duration,
    /// Whether accounts tell new devices that their chats have moved to LIDs.
    pub(crate) lid_migrated: bool,
    /// Whether everybody has a LID.
    pub(crate) lids: bool,
    /// Whether accounts tell their devices their name by app state.
    pub(crate) app_state: bool,
    /// Whether accounts have no name.
    pub(crate) nameless: bool,
    /// How long after its confirmation a device is registered.
    pub(crate) register_after: Duration,
    /// How long after that it is told to connect again.
    pub(crate) restart_after: Duration,
    /// How long the server leaves a connection open after it ended its stream.
    pub(crate) hang_up_after: Duration,
    /// How many devices a phone can link.
    pub(crate) max_devices: usize,
    /// How many stanzas the journal keeps.
    pub(crate) journal: usize,
    /// What QR references are derived from.
    pub(crate) secret: [u8; 32],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expire_after: Duration::from_secs(10),
            lid_migrated: false,
            lids: false,
            app_state: false,
            nameless: false,
            register_after: Duration::ZERO,
            // Logs of real pairings show 300 to 600 ms.
            restart_after: Duration::from_millis(400),
            hang_up_after: Duration::from_millis(100),
            max_devices: 4,
            journal: 100_000,
            secret: [0; 32],
        }
    }
}

/// Everything the sandbox knows. Tests look into it; only the sandbox changes it.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    accounts: Accounts,
    connections: Connections,
    numbers: Numbers,
    codes: Codes,
    confirmed: Confirmed,
    screens: Screens,
    groups: Groups,
    inboxes: Inboxes,
    journal: Journal,
    faults: Faults,
    effects: VecDeque<Effect>,
    last_reference: u64,
}

/// What has to be done to a connection because of something that happened elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Say this and, unless it says otherwise, hang up.
    Dismiss(ConnectionId, Farewell),
    /// Send this.
    Push(ConnectionId, Push),
    /// Stop reading and writing.
    Stall(ConnectionId),
    /// Go on reading and writing.
    Resume(ConnectionId),
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            accounts: Accounts::default(),
            connections: Connections::default(),
            numbers: Numbers::default(),
            codes: Codes::default(),
            confirmed: Confirmed::default(),
            screens: Screens::new(settings.expire_after),
            groups: Groups::default(),
            inboxes: Inboxes::default(),
            journal: Journal::new(settings.journal),
            faults: Faults::default(),
            effects: VecDeque::new(),
            last_reference: 0,
            settings,
        }
    }

    /// Ends what is due. An early or an extra call does nothing.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.screens.handle_timeout(now);
        self.faults.handle_timeout(now);
        self.register_due(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.screens
            .poll_timeout()
            .into_iter()
            .chain(self.faults.poll_timeout())
            .chain(self.confirmed.poll_timeout())
            .min()
    }

    /// What has to be done to connections; drain after every call that changes something.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What the phone of `number` shows now, and what it showed before.
    #[must_use]
    pub fn shown(&self, number: Number) -> Shown {
        self.shown_in(Place::Phone(number))
    }

    /// What `place` shows now, and what it showed before.
    #[must_use]
    pub fn shown_in(&self, place: Place) -> Shown {
        self.screens.shown(place)
    }

    /// The journal's stanzas after `after`, at most `limit`.
    #[must_use]
    pub fn journal(&self, after: u64, limit: usize) -> JournalPage {
        self.journal.after(after, limit)
    }

    /// What was refused, and why, oldest first, as far as the journal remembers.
    pub fn refused(&self) -> impl Iterator<Item = &JournalEntry> {
        self.journal.refused()
    }

    /// Whether the chats of `number` have moved to LIDs.
    #[must_use]
    pub fn is_lid_migrated(&self, number: Number) -> bool {
        self.accounts.moved(number).unwrap_or(self.settings.lid_migrated)
    }

    /// How many connections `number`'s devices have, logged in.
    #[must_use]
    pub fn connections(&self, number: Number) -> usize {
        self.connections.of(number).len()
    }

    /// How many connections there are, those that wait to be linked included.
    #[must_use]
    pub fn all_connections(&self) -> usize {
        self.connections.len()
    }

    /// How many devices are linked to `number`.
    #[must_use]
    pub fn linked_devices(&self, number: Number) -> usize {
        self.accounts.devices(number)
    }

    /// Whether one of `number`'s devices said `available` on a connection that still stands, and did not
    /// take it back.
    #[must_use]
    pub fn is_available(&self, number: Number) -> bool {
        let of = self.connections.of(number).iter();
        of.filter_map(|id| self.connections.get(*id))
            .any(|connection| connection.available)
    }

    /// Sets what WhatsApp knows about `number`: the number it really is (`None`: not on WhatsApp), and the
    /// LID of that one.
    pub(crate) fn set_number(
        &mut self,
        number: Number,
        canonical: Option<Number>,
        lid: Option<Lid>,
    ) -> Result<(), TooManyNumbers> {
        self.numbers.set(number, canonical, lid)
    }

    /// Says whether the chats of `number` have moved to LIDs.
    pub(crate) fn set_lid_migrated(&mut self, number: Number, migrated: bool) -> Result<(), TooManyNumbers> {
        self.accounts.set_moved(number, migrated)
    }

    /// Forgets what was set for `number`.
    pub(crate) fn forget_number(&mut self, number: Number) {
        self.numbers.forget(number);
    }
}
