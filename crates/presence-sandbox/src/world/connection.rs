//! Connections: who may log in, and how connections end.

use std::collections::BTreeSet;
use std::time::Duration;

use super::account::Recognised;
use super::fault::{Answer, Strike};
use super::pairing::Waiting;
use super::request::Treatment;
use super::{Device, Effect, Lid, Number, Refused, Text, World};

/// One connection of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(pub(super) u64);

/// Who a client says it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) noise_key: [u8; 32],
    pub(crate) device: Option<Device>,
    /// Whether it wants to be left in peace until it goes active.
    pub(crate) passive: bool,
}

/// What a client that shook hands is told.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It is logged in.
    Welcome {
        connection: ConnectionId,
        device: Device,
        lid: Lid,
        success: Treatment,
    },
    /// It can be linked with these QR references.
    Pair {
        connection: ConnectionId,
        references: Vec<String>,
        offer: Treatment,
    },
    /// Neither.
    Refused(Farewell),
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// `<failure>`, and hanging up.
    Failure {
        /// `None` gives no reason, which WhatsApp has been seen to do.
        reason: Option<u16>,
        code: Option<u16>,
        expire_secs: Option<u64>,
        message: Option<String>,
    },
    /// `<stream:error code>`.
    StreamError { code: u16, hang_up: bool },
    /// `<stream:error><conflict type>`, with the code that goes with it.
    Conflict(&'static str),
    /// `<xmlstreamend>`, and hanging up.
    StreamEnd,
    /// Hanging up without a word, not even the WebSocket's.
    Cut,
}

/// How a connection ends whose device connected elsewhere.
pub(crate) const REPLACED: Farewell = Farewell::Conflict("replaced");

impl Farewell {
    pub(super) fn failure(reason: u16) -> Self {
        Self::Failure {
            reason: Some(reason),
            code: None,
            expire_secs: None,
            message: None,
        }
    }

    pub(crate) fn hangs_up(&self) -> bool {
        !matches!(self, Self::StreamError { hang_up: false, .. })
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) noise_key: [u8; 32],
    pub(super) device: Option<Device>,
    /// From when it is logged in: `None` when it is not welcomed.
    pub(super) welcomed_at: Option<Duration>,
    /// Whether it is told what happens, and may take part in it.
    pub(super) active: bool,
    pub(super) available: bool,
    pub(super) stalled: bool,
    /// Whose presence it wants to be told.
    pub(super) subscribed: BTreeSet<Number>,
    pub(super) waiting: Waiting,
}

impl World {
    /// Whether a new connection is not even answered.
    pub(crate) fn refuses_connections(&mut self) -> bool {
        self.faults.refuse(None)
    }

    /// A client shook hands.
    pub(crate) fn login(&mut self, now: Duration, claim: Claim) -> Admission {
        let device = match self.accounts.recognise(&claim.noise_key, claim.device) {
            Recognised::Offered => return self.refuse_login(now, claim, Refused::NotRegistered),
            Recognised::Unlinked => return self.refuse_login(now, claim, Refused::NotLinked),
            Recognised::Linked(device) => Some(device),
            Recognised::Stranger => None,
        };
        let number = device.map(|device| device.number);
        if let Some(ban) = self.faults.ban(now, number) {
            return Admission::Refused(ban);
        }
        if number.is_some() && self.faults.refuse(number) {
            return Admission::Refused(Farewell::Cut);
        }
        let strike = self.faults.at_login(number);
        if let Some(Strike::Dismiss(farewell)) = strike {
            return Admission::Refused(farewell);
        }

        if let Some(device) = device {
            self.replace(now, device);
            if let Some(logins) = self.logins_of(device) {
                logins.logged_in(now);
            }
        }
        let success = self.faults.treatment(Answer::Success, number);
        let welcomed_at = match (&success, device) {
            (Treatment::Give, Some(_)) => Some(now),
            (Treatment::Delay(by), Some(_)) => Some(now + *by),
            _ => None,
        };
        let connection = self.connections.open(Connection {
            noise_key: claim.noise_key,
            device,
            welcomed_at,
            active: !claim.passive,
            available: false,
            stalled: false,
            subscribed: BTreeSet::new(),
            waiting: Waiting::default(),
        });
        if let Some(Strike::Stall) = strike {
            self.stall(connection);
        }
        match device {
            Some(device) => Admission::Welcome {
                connection,
                device,
                lid: self.lid_of(device.number).unwrap_or(Lid::nth(0)),
                success,
            },
            None => Admission::Pair {
                connection,
                references: self.issue_references(now, connection),
                offer: self.faults.treatment(Answer::PairDevice, None),
            },
        }
    }

    /// A connection is gone, whoever ended it.
    pub(crate) fn hung_up(&mut self, now: Duration, connection: ConnectionId) {
        let Some(gone) = self.connections.close(connection) else {
            return;
        };
        if gone.device.is_none() {
            self.codes.forget(connection);
        }
        if let Some(offered) = gone.waiting.offered() {
            self.accounts.withdraw(offered);
        }
        if let Some(logins) = gone.device.and_then(|device| self.logins_of(device)) {
            logins.hung_up(now);
        }
        if let Some(device) = gone.device.filter(|_| gone.available) {
            self.availability_changed(now, device.number, true);
        }
    }

    /// A connection of `device` that was replaced says something all the same.
    pub(crate) fn receive_superseded(&mut self, now: Duration, device: Device, text: Text) {
        self.journal
            .write(now, Some(device.number), text, Some(Refused::Superseded));
    }

    /// A connection of `number` said whether it is available.
    pub(super) fn set_available(&mut self, now: Duration, connection: ConnectionId, available: bool) {
        let Some(sender) = self.connections.get_mut(connection) else {
            return;
        };
        let Some(device) = sender.device else { return };
        let before = self.is_available(device.number);
        if let Some(sender) = self.connections.get_mut(connection) {
            sender.available = available;
        }
        self.availability_changed(now, device.number, before);
    }

    fn availability_changed(&mut self, now: Duration, number: Number, before: bool) {
        let available = self.is_available(number);
        if before && !available {
            self.accounts.was_available(number, now);
        }
        if before != available {
            self.deliver_presence(number);
        }
    }

    fn refuse_login(&mut self, now: Duration, claim: Claim, why: Refused) -> Admission {
        self.journal_login(now, claim.device, why);
        Admission::Refused(Farewell::failure(401))
    }

    fn journal_login(&mut self, now: Duration, device: Option<Device>, why: Refused) {
        if let Some(Device { number, id }) = device {
            let text = Text {
                xml: format!("<login jid=\"{number}:{id}@s.whatsapp.net\"/>"),
                jids: Vec::new(),
            };
            self.journal.write(now, Some(number), text, Some(why));
        }
    }

    /// The connections of `number`'s devices.
    pub(crate) fn connections_of(&self, number: Number) -> Vec<ConnectionId> {
        self.connections.concerned(Some(number))
    }

    /// Cuts `number`'s connections. Returns how many.
    pub(crate) fn drop_connections(&mut self, number: Number) -> usize {
        self.dismiss(Some(number), &Farewell::Cut)
    }

    /// The owner of `number` unlinks all devices on the phone. Returns how many.
    pub(crate) fn unlink(&mut self, number: Number) -> usize {
        self.dismiss(Some(number), &Farewell::Conflict("device_removed"));
        self.accounts.unlink_all(number)
    }

    /// The LID WhatsApp has for `number`.
    pub(super) fn lid_of(&self, number: Number) -> Option<Lid> {
        let everybodys = || Some(Lid::derived(number)).filter(|_| self.settings.lids);
        let known = self.numbers.lid(number).or_else(everybodys);
        known.or_else(|| self.accounts.lid(number))
    }

    /// Ends all connections of `number`, or of everyone. Returns how many.
    pub(super) fn dismiss(&mut self, number: Option<Number>, farewell: &Farewell) -> usize {
        let struck = self.connections.concerned(number);
        self.effects
            .extend(struck.iter().map(|id| Effect::Dismiss(*id, farewell.clone())));
        struck.len()
    }

    pub(super) fn stall(&mut self, connection: ConnectionId) {
        if let Some(stalled) = self.connections.get_mut(connection) {
            stalled.stalled = true;
            self.effects.push_back(Effect::Stall(connection));
        }
    }

    /// Lets all stalled connections go on.
    pub(super) fn resume(&mut self) {
        for (id, connection) in self.connections.iter_mut() {
            if std::mem::take(&mut connection.stalled) {
                self.effects.push_back(Effect::Resume(id));
            }
        }
    }

    /// A device has one connection: the older one has to go.
    fn replace(&mut self, now: Duration, device: Device) {
        if let Some(older) = self.connections.of_device(device) {
            self.journal_login(now, Some(device), Refused::Replaced);
            if let Some(logins) = self.logins_of(device) {
                logins.replaced();
            }
            self.effects.push_back(Effect::Dismiss(older, REPLACED));
            // It is on its way out: what it still sends counts for nobody.
            self.hung_up(now, older);
        }
    }
}
