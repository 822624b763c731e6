//! What a client asks of the server, and what it is answered.

use std::time::Duration;

use super::connection::Connection;
use super::fault::{Answer, Strike};
use super::{CompanionFinish, ConnectionId, Farewell, Lid, Number, Place, Refused, State, Text, World};

/// A client's stanza, as far as the sandbox understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `<chatstate>`; `None` is `<paused/>`.
    ChatState {
        id: Option<String>,
        to: Address,
        jid: Option<String>,
        state: Option<State>,
    },
    /// `<presence>` of the client itself.
    Presence { available: bool },
    /// An `<iq>` that waits for an answer.
    Ask { id: String, asked: Asked },
    /// The answer to `pair-success`: the device signed.
    PairSigned,
    /// The answer to `pair-success`: the device refused.
    PairRefused(String),
    /// A stanza the server acknowledges and does nothing about.
    Acknowledged {
        class: String,
        id: String,
        to: Option<String>,
    },
    /// Anything else.
    Other,
}

/// Whom a chat state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Number(Number),
    Lid(Lid),
    Group(Place),
    /// Nobody the sandbox knows.
    Nowhere,
}

/// What an `<iq>` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Ping,
    Passive {
        active: bool,
    },
    PreKeys,
    PreKeyCount,
    Digest,
    Props,
    Blocklist,
    Privacy,
    Usync {
        users: Vec<UsyncUser>,
        contact: bool,
        lid: bool,
        devices: bool,
    },
    AppState {
        collections: Vec<String>,
    },
    Logout,
    /// A device asks for a link code for `number`.
    LinkCode {
        number: Number,
        wrapped_ephemeral: Box<[u8; 80]>,
    },
    LinkFinish(CompanionFinish),
    Other,
}

/// Whom a usync query asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsyncUser {
    Number(Number),
    Lid(Lid),
}

/// What a usync query learns about one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsyncAnswer {
    /// Whom it is about: under the canonical number when there is one.
    pub(crate) user: UsyncUser,
    /// The phone number behind a LID that was asked about.
    pub(crate) number: Option<Number>,
    pub(crate) registered: bool,
    pub(crate) lid: Option<Lid>,
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A result without content.
    Done {
        id: String,
    },
    /// Whether the account's chats have moved to LIDs is one of them.
    Props {
        id: String,
        lid_migrated: bool,
    },
    Blocklist {
        id: String,
    },
    Privacy {
        id: String,
    },
    PreKeyCount {
        id: String,
    },
    /// Which protocols were asked for decides what is told about each user.
    Usync {
        id: String,
        users: Vec<UsyncAnswer>,
        contact: bool,
        lid: bool,
    },
    AppState {
        id: String,
        collections: Vec<String>,
    },
    LinkCode {
        id: String,
        reference: String,
    },
    Error {
        id: String,
        code: u16,
        text: String,
    },
    Ack {
        class: String,
        id: String,
        to: Option<String>,
    },
    /// "That was not taken."
    Nack {
        class: &'static str,
        id: Option<String>,
        to: Option<String>,
        code: u16,
    },
    /// "That was all that came while you were offline."
    Offline,
}

/// What happens to an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Treatment {
    #[default]
    Give,
    Withhold,
    Delay(Duration),
    Reject {
        code: u16,
        text: String,
    },
}

/// What follows from a stanza for the connection it came on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    /// What to answer, each after how long.
    pub(crate) replies: Vec<(Duration, Reply)>,
    /// How the connection ends, after the replies that are due at once.
    pub(crate) farewell: Option<Farewell>,
}

impl World {
    /// A stanza came. `text` is what the journal shows of it.
    pub(crate) fn receive(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        text: Text,
        request: Request,
    ) -> Reaction {
        let Some(sender) = self.connections.get(connection) else {
            return Reaction::default();
        };
        let from = sender.device.map(|device| device.number);
        let refused = self.refusal(now, sender, &request);
        self.journal.write(now, from, text, refused);

        let mut reaction = Reaction::default();
        match request {
            Request::ChatState { id, jid, .. } if refused == Some(Refused::LidOfUnmoved) => {
                let nack = Reply::Nack {
                    class: "chatstate",
                    id,
                    to: jid,
                    code: 400,
                };
                reaction.replies.push((Duration::ZERO, nack));
            }
            _ if refused.is_some() => {}
            Request::ChatState { to, state, .. } => {
                if let (Some(from), Some(place)) = (from, self.place(to)) {
                    match state {
                        Some(state) => self.screens.show(now, place, from, state),
                        None => self.screens.pause(now, place, from),
                    }
                }
            }
            Request::Presence { available } => {
                if let Some(sender) = self.connections.get_mut(connection) {
                    sender.available = available;
                }
            }
            Request::PairSigned => self.pair_signed(now, connection),
            Request::PairRefused(text) => self.pair_refused(connection, text),
            Request::Acknowledged { class, id, to } => {
                let treatment = self.faults.treatment(Answer::Ack, from);
                reply(&mut reaction, treatment, Reply::Ack { class, id, to });
            }
            Request::Ask { id, asked } => self.answer(now, connection, id, asked, &mut reaction),
            Request::Other => {}
        }
        match self.faults.on_stanza(from) {
            Some(Strike::Dismiss(farewell)) => reaction.farewell = Some(farewell),
            Some(Strike::Stall) => self.stall(connection),
            None => {}
        }
        reaction
    }

    fn answer(
        &mut self,
        now: Duration,
        connection: ConnectionId,
        id: String,
        asked: Asked,
        reaction: &mut Reaction,
    ) {
        let device = self.connections.get(connection).and_then(|c| c.device);
        let from = device.map(|device| device.number);
        let treatment = self.faults.treatment(asked.answer(), from);
        let refused = matches!(treatment, Treatment::Reject { .. });
        let went_active = asked == Asked::Passive { active: true };
        if let (Asked::Passive { active }, Some(sender)) = (&asked, self.connections.get_mut(connection)) {
            sender.active = *active;
        }
        let answer = match asked {
            Asked::Props => Reply::Props {
                id,
                lid_migrated: from.is_some_and(|from| self.is_lid_migrated(from)),
            },
            Asked::Blocklist => Reply::Blocklist { id },
            Asked::Privacy => Reply::Privacy { id },
            Asked::PreKeyCount => Reply::PreKeyCount { id },
            Asked::Usync {
                users,
                contact,
                lid,
                devices,
            } => {
                // Device lists are for encrypting messages, and nobody gets one here.
                let users = if devices { Vec::new() } else { users };
                let users = users.into_iter().map(|user| self.look_up(user)).collect();
                Reply::Usync {
                    id,
                    users,
                    contact,
                    lid,
                }
            }
            Asked::AppState { collections } => Reply::AppState { id, collections },
            Asked::LinkCode {
                number,
                wrapped_ephemeral,
            } if !refused => {
                let reference = self.wait_for_link(now, connection, number, *wrapped_ephemeral);
                Reply::LinkCode { id, reference }
            }
            Asked::LinkFinish(finish) => {
                self.finish_link(connection, finish);
                Reply::Done { id }
            }
            Asked::Logout => {
                if let (Some(device), false) = (device, refused) {
                    self.accounts.unlink(device);
                    reaction.farewell = Some(Farewell::Conflict("device_removed"));
                }
                Reply::Done { id }
            }
            _ => Reply::Done { id },
        };
        reply(reaction, treatment, answer);
        if went_active {
            let treatment = self.faults.treatment(Answer::Offline, from);
            reply(reaction, treatment, Reply::Offline);
        }
    }

    fn look_up(&self, user: UsyncUser) -> UsyncAnswer {
        match user {
            UsyncUser::Number(asked) => {
                let canonical = self.numbers.canonical(asked);
                UsyncAnswer {
                    user: UsyncUser::Number(canonical.unwrap_or(asked)),
                    number: None,
                    registered: canonical.is_some(),
                    lid: canonical.and_then(|number| self.numbers.lid(asked).or_else(|| self.lid_of(number))),
                }
            }
            UsyncUser::Lid(lid) => {
                let number = self.number_of(lid);
                UsyncAnswer {
                    user,
                    number,
                    registered: number.is_some(),
                    lid: number.map(|_| lid),
                }
            }
        }
    }

    /// Why a stanza has no effect, if it has none.
    fn refusal(&self, now: Duration, sender: &Connection, request: &Request) -> Option<Refused> {
        let to = match request {
            Request::ChatState { to, .. } => Some(*to),
            Request::Presence { .. } => None,
            _ => return None,
        };
        let logged_in = sender.welcomed_at.is_some_and(|welcomed| welcomed <= now);
        match sender.device {
            Some(device) if logged_in && sender.active => {
                to.and_then(|to| self.refusal_of_address(device.number, to))
            }
            Some(_) if logged_in => Some(Refused::Passive),
            _ => Some(Refused::NotLoggedIn),
        }
    }

    /// WhatsApp takes each person under one address only: the LID from accounts whose chats have moved, as far
    /// as the person has one, and the number from the others.
    fn refusal_of_address(&self, from: Number, to: Address) -> Option<Refused> {
        let moved = self.is_lid_migrated(from);
        match to {
            Address::Lid(_) if !moved => Some(Refused::LidOfUnmoved),
            _ if self.place(to).is_none() => Some(Refused::NoRecipient),
            Address::Number(number) if moved && self.lid_of(number).is_some() => Some(Refused::NumberOfMoved),
            _ => None,
        }
    }

    fn number_of(&self, lid: Lid) -> Option<Number> {
        self.numbers.by_lid(lid).or_else(|| self.accounts.by_lid(lid))
    }

    /// Where a chat state shows. One to a number that is not the canonical one goes nowhere, as it does on
    /// WhatsApp.
    fn place(&self, to: Address) -> Option<Place> {
        match to {
            Address::Number(number) => {
                (self.numbers.canonical(number) == Some(number)).then_some(Place::Phone(number))
            }
            Address::Lid(lid) => self.number_of(lid).map(Place::Phone),
            Address::Group(place) => Some(place),
            Address::Nowhere => None,
        }
    }
}

impl Asked {
    fn answer(&self) -> Answer {
        match self {
            Self::Ping => Answer::Ping,
            Self::Passive { .. } => Answer::Passive,
            Self::PreKeys => Answer::PreKeys,
            Self::PreKeyCount => Answer::PreKeyCount,
            Self::Digest => Answer::Digest,
            Self::Props => Answer::Props,
            Self::Blocklist => Answer::Blocklist,
            Self::Privacy => Answer::Privacy,
            Self::Usync { .. } => Answer::Usync,
            Self::AppState { .. } => Answer::AppState,
            Self::Logout => Answer::Logout,
            Self::LinkCode { .. } => Answer::LinkCode,
            Self::LinkFinish(_) => Answer::LinkFinish,
            Self::Other => Answer::Other,
        }
    }
}

impl Reply {
    fn id(&self) -> Option<&str> {
        match self {
            Self::Done { id }
            | Self::Props { id, .. }
            | Self::Blocklist { id }
            | Self::Privacy { id }
            | Self::PreKeyCount { id }
            | Self::Usync { id, .. }
            | Self::AppState { id, .. }
            | Self::LinkCode { id, .. }
            | Self::Error { id, .. } => Some(id),
            // Neither answers a query, so neither can be refused.
            Self::Ack { .. } | Self::Nack { .. } | Self::Offline => None,
        }
    }
}

fn reply(reaction: &mut Reaction, treatment: Treatment, answer: Reply) {
    match (treatment, answer.id()) {
        (Treatment::Give, _) => reaction.replies.push((Duration::ZERO, answer)),
        (Treatment::Delay(by), _) => reaction.replies.push((by, answer)),
        (Treatment::Reject { code, text }, Some(id)) => {
            let error = Reply::Error {
                id: id.to_owned(),
                code,
                text,
            };
            reaction.replies.push((Duration::ZERO, error));
        }
        (Treatment::Withhold | Treatment::Reject { .. }, _) => {}
    }
}
