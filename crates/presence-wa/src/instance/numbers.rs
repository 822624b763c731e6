//! How the people behind numbers and LIDs are found: what was learnt of them, and who waits to learn it.
//!
//! WhatsApp writes some numbers in another way than clients do, and moves accounts from numbers to LIDs one by
//! one. A stanza to the wrong one of a person's names reaches nobody. What the names are is WhatsApp's knowledge:
//! it is asked once, and remembered.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use presence_core::{ChatJid, ChatKind, PhoneNumber, Recipient};
use quick_cache::unsync::Cache;
use tokio::time::Instant;

use super::message::PresenceRequest;
use crate::session::Contact;

/// The address book of one instance, and the requests that wait for it. Pure: time comes in, and the questions
/// to ask come out.
///
/// Requests for one person stay in the order in which they came; those for others pass them.
#[derive(Debug)]
pub(super) struct Numbers {
    settings: NumberSettings,
    /// By each name that was asked about. Made when the first is.
    known: Option<Cache<ChatJid, Known>>,
    asking: HashMap<ChatJid, Asking>,
}

/// What the fleet's settings say of look-ups.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberSettings {
    /// Numbers that can be written in two ways are looked up.
    pub(super) resolve: bool,
    /// The longest a request waits for a look-up.
    pub(super) timeout: Duration,
}

/// What has to be found out of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The name that the client used.
    pub(super) person: ChatJid,
    /// What it is needed for.
    pub(super) need: Need,
}

/// Which of a person's names is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The spelling that WhatsApp uses; only WhatsApp knows it.
    Spelling(PhoneNumber),
    /// The LID of this number; the device may have learnt it.
    Lid(PhoneNumber),
    /// The number of a LID; the device may have learnt it, and WhatsApp cannot be asked.
    Number,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These names.
    Contact(Contact),
    /// WhatsApp knows no such number.
    Unknown,
    /// The question failed, or had no answer in time.
    Failed,
}

/// Where stanzas for a recipient go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The address on the wire.
    pub(super) to: ChatJid,
    /// The chat, as the client is told.
    pub(super) chat: ChatJid,
    /// WhatsApp has said that it knows no such number.
    pub(super) unknown: bool,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Route {
    /// Carry it out; its address is known.
    Go(PresenceRequest),
    /// It waits here.
    Waits,
    /// It waits here, until this was asked.
    Ask(Question),
}

#[derive(Clone, Debug)]
struct Known {
    contact: Contact,
    unknown: bool,
    until: Instant,
}

#[derive(Debug)]
struct Asking {
    since: Instant,
    waiting: VecDeque<PresenceRequest>,
}

impl Numbers {
    pub(super) fn new(settings: NumberSettings) -> Self {
        Self {
            settings,
            known: None,
            asking: HashMap::new(),
        }
    }

    /// Takes a request in. `moved`: the account has been moved to LIDs.
    pub(super) fn handle_request(&mut self, now: Instant, request: PresenceRequest, moved: bool) -> Route {
        let Some(need) = self.need(&request.recipient, moved) else {
            return Route::Go(request);
        };
        let person = request.recipient.chat();
        if let Some(asking) = self.asking.get_mut(&person) {
            // Counted from the start of the look-up: whoever comes while it is late has not to wait again.
            if now < asking.since + self.settings.timeout {
                asking.waiting.push_back(request);
                return Route::Waits;
            }
            return Route::Go(request);
        }
        if self.is_answered(now, &person) || self.asking.len() >= ASKED_AT_ONCE {
            return Route::Go(request);
        }
        let asking = Asking {
            since: now,
            waiting: VecDeque::from([request]),
        };
        self.asking.insert(person.clone(), asking);
        Route::Ask(Question { person, need })
    }

    /// A question was answered. The requests that waited for it can be carried out now.
    pub(super) fn handle_found(
        &mut self,
        now: Instant,
        person: &ChatJid,
        found: Found,
    ) -> VecDeque<PresenceRequest> {
        let known = self.known.get_or_insert_with(|| Cache::new(REMEMBERED));
        let before = known.get(person).cloned();
        let remembered = match found {
            Found::Contact(contact) => {
                // Whoever has no LID yet may get one any day.
                let whole = contact.lid.is_some() && contact.number.is_some();
                Known {
                    contact,
                    unknown: false,
                    until: now + if whole { REMEMBER_KNOWN } else { REMEMBER_MISS },
                }
            }
            Found::Unknown => Known {
                contact: Contact::default(),
                unknown: true,
                until: now + REMEMBER_MISS,
            },
            // What was known before is a better guess than nothing.
            Found::Failed => Known {
                until: now + REMEMBER_FAILURE,
                ..before.unwrap_or_else(|| Known {
                    contact: Contact::default(),
                    unknown: false,
                    until: now,
                })
            },
        };
        known.insert(person.clone(), remembered);
        self.asking
            .remove(person)
            .map(|asking| asking.waiting)
            .unwrap_or_default()
    }

    /// A question was dropped without an answer, with its session.
    pub(super) fn handle_session_down(&mut self) -> Vec<PresenceRequest> {
        self.asking
            .drain()
            .flat_map(|(_, asking)| asking.waiting)
            .collect()
    }

    /// The requests that have waited long enough; they are carried out with what is known.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<PresenceRequest> {
        let timeout = self.settings.timeout;
        self.asking
            .values_mut()
            .filter(|asking| asking.since + timeout <= now)
            .flat_map(|asking| std::mem::take(&mut asking.waiting))
            .collect()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.asking
            .values()
            .filter(|asking| !asking.waiting.is_empty())
            .map(|asking| asking.since + self.settings.timeout)
            .min()
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.asking.values().map(|asking| asking.waiting.len()).sum()
    }

    /// Forgets everything: the next session may be another account's, with other chats for the same numbers.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// Where stanzas for `recipient` go, by what is known, however old.
    pub(super) fn address(&self, recipient: &Recipient, moved: bool) -> Address {
        let chat = recipient.chat();
        let known = self.known.as_ref().and_then(|known| known.get(&chat));
        let contact = known.map(|known| &known.contact);
        let number = contact.and_then(|contact| contact.number.clone());
        let lid = contact.and_then(|contact| contact.lid.clone());
        let unknown = known.is_some_and(|known| known.unknown);
        let spelt = match recipient {
            Recipient::Phone(_) => number.clone().unwrap_or_else(|| chat.clone()),
            Recipient::Jid(_) => chat.clone(),
        };
        let to = match chat.kind() {
            ChatKind::User if moved => lid.unwrap_or_else(|| spelt.clone()),
            ChatKind::Lid if !moved => number.unwrap_or_else(|| chat.clone()),
            _ => spelt.clone(),
        };
        Address {
            to,
            chat: spelt,
            unknown,
        }
    }

    /// The other names of `person`, and the one that stanzas go to.
    pub(super) fn names(&self, person: &ChatJid, moved: bool) -> (Vec<ChatJid>, ChatJid) {
        let contact = self
            .known
            .as_ref()
            .and_then(|known| known.get(person))
            .map(|known| known.contact.clone())
            .unwrap_or_default();
        let recipient = match as_phone(person) {
            Some(number) => Recipient::Phone(number),
            None => Recipient::Jid(person.clone()),
        };
        let to = self.address(&recipient, moved).to;
        let names = [Some(person.clone()), contact.number, contact.lid];
        let others = names.into_iter().flatten().filter(|name| *name != to);
        (others.collect(), to)
    }

    /// Everybody who was asked about.
    pub(super) fn people(&self) -> Vec<ChatJid> {
        let known = self.known.iter().flat_map(Cache::iter);
        known.map(|(person, _)| person.clone()).collect()
    }

    fn need(&self, recipient: &Recipient, moved: bool) -> Option<Need> {
        match recipient {
            Recipient::Phone(number) if self.settings.resolve && number.is_ambiguous() => {
                Some(Need::Spelling(*number))
            }
            Recipient::Phone(number) if moved => Some(Need::Lid(*number)),
            Recipient::Phone(_) => None,
            Recipient::Jid(chat) => match chat.kind() {
                ChatKind::User if moved => as_phone(chat).map(Need::Lid),
                ChatKind::Lid if !moved => Some(Need::Number),
                _ => None,
            },
        }
    }

    /// Whether there is an answer that stands; a failure does so for a while too.
    fn is_answered(&self, now: Instant, person: &ChatJid) -> bool {
        let known = self.known.as_ref().and_then(|known| known.get(person));
        known.is_some_and(|known| now < known.until)
    }
}

fn as_phone(chat: &ChatJid) -> Option<PhoneNumber> {
    (chat.kind() == ChatKind::User).then(|| chat.user().parse().ok())?
}

/// How many people an instance remembers: about 300 bytes each.
const REMEMBERED: usize = 4096;
/// How many look-ups of an instance may be under way. WhatsApp limits them, and bans for many.
const ASKED_AT_ONCE: usize = 32;
/// How long an answer is remembered. The account behind a number rarely changes.
const REMEMBER_KNOWN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long it is remembered that WhatsApp knows no such number, or of no LID: people register, and are moved.
const REMEMBER_MISS: Duration = Duration::from_secs(10 * 60);
/// How long a failed look-up is not tried again, so that a broken one does not slow down every request.
const REMEMBER_FAILURE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
