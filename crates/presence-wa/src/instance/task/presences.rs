//! What clients ask to be shown, on its way to a stanza that is written.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use presence_core::{Cause, ChatJid, Command, Refused, Transmit};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{InstanceTask, now};
use crate::counters::{EarlyEnd, LookUpResult};
use crate::error::ShowError;
use crate::instance::job::JobDone;
use crate::instance::lookups::look_up;
use crate::instance::message::{PresenceRequest, ShownIn};
use crate::instance::numbers::{Address, Found, Route};
use crate::instance::stanza::{StanzaWrite, WriteError, Written};
use crate::session::SendError;

/// A request whose command was given to the indicators.
pub(super) struct BegunRequest {
    request: PresenceRequest,
    address: Address,
    /// An indicator in the chat had yet to end.
    replaces: bool,
}

impl InstanceTask {
    pub(super) fn handle_presence(&mut self, now: Instant, request: PresenceRequest) {
        #[cfg(feature = "panic-hook")]
        crate::instance::panic_hook::panic_if_asked(&request.recipient.chat());
        if !self.lifecycle.is_online() {
            return request.answer(Err(ShowError::NotConnected));
        }
        if self.ready.len() + self.numbers.waiting() >= self.fleet.settings.inbox.max(1) {
            return request.answer(Err(ShowError::Busy));
        }
        match self.numbers.handle_request(now, request, self.is_moved_to_lids()) {
            Route::Go(request) => self.ready.push_back(request),
            Route::Waits => {}
            Route::Ask(question) => {
                if let Some(open) = &self.session {
                    self.look_ups.push(look_up(Arc::clone(&open.session), question));
                }
            }
        }
    }

    pub(super) fn handle_found(&mut self, person: &ChatJid, found: Option<Found>) {
        let found = found.unwrap_or(Found::Failed);
        self.fleet.counters.look_ups[result_of(&found)].inc();
        let released = self.numbers.handle_found(Instant::now(), person, found);
        self.ready.extend(released);
        self.join_names(person);
    }

    /// Tells the indicators which names are one person's.
    pub(super) fn join_names(&mut self, person: &ChatJid) {
        let (names, to) = self.numbers.names(person, self.is_moved_to_lids());
        for name in names {
            self.indicators.handle_alias(now(), name, to.clone());
        }
    }

    /// Begins the next stanza's write, if none is under way: what the indicators want sent, then what the next
    /// request asks for.
    pub(super) fn pump_stanzas(&mut self) {
        while self.write.is_none() {
            let Some(session) = self.session.as_ref().map(|open| &open.session) else {
                return self.refuse_all();
            };
            if let Some(transmit) = self.indicators.poll_transmit() {
                let limit = self.fleet.settings.send_timeout;
                self.write = Some(StanzaWrite::begin(Arc::clone(session), transmit, limit));
                return;
            }
            if let Some(begun) = self.begun.take() {
                begun.request.answer(Err(ShowError::NotConnected));
            }
            if self.farewell_until.is_some() {
                return self.end_farewell();
            }
            let Some(request) = self.ready.pop_front() else {
                return;
            };
            self.begin_request(request);
        }
        if self.farewell_until.is_some_and(|until| until <= Instant::now()) {
            warn!("pausing the indicators took too long");
            self.end_farewell();
        }
    }

    /// Gives a request's command to the indicators. Its stanza is polled next.
    fn begin_request(&mut self, request: PresenceRequest) {
        if request.is_given_up(Instant::now()) {
            return;
        }
        if !self.lifecycle.is_online() {
            return request.answer(Err(ShowError::NotConnected));
        }
        let address = self.numbers.address(&request.recipient, self.is_moved_to_lids());
        let replaces = self.indicators.has_yet_to_end(&address.to);
        let given = self
            .indicators
            .handle_command(now(), address.to.clone(), request.command);
        match given {
            Ok(()) => {
                self.begun = Some(BegunRequest {
                    request,
                    address,
                    replaces,
                });
            }
            Err(Refused::TooManyChats) => request.answer(Err(ShowError::TooManyChats)),
            Err(_) => request.answer(Err(ShowError::NotConnected)),
        }
    }

    /// No session is open: nothing that waits can be carried out.
    pub(super) fn refuse_all(&mut self) {
        let waiting = self.numbers.handle_session_down();
        for request in self.ready.drain(..).chain(waiting) {
            request.answer(Err(ShowError::NotConnected));
        }
    }

    pub(super) fn end_farewell(&mut self) {
        self.farewell_until = None;
        self.write = None;
        self.indicators.handle_session_down(now());
        self.lifecycle
            .handle_job(Instant::now(), JobDone::Done, &mut rand::rng());
    }

    pub(super) fn handle_written(&mut self, stanza: Written) {
        let Written { transmit, written } = stanza;
        match (written, &transmit) {
            (Ok(()), Transmit::ChatState { cause, .. }) => self.handle_written_state(*cause),
            (Ok(()), Transmit::Availability(_)) => self.changed = true,
            // It is told again as soon as the account's name is known.
            (Err(WriteError::Failed(SendError::NoPushName)), Transmit::Availability(_)) => {
                debug!("the account's name is not known yet: nothing is said of its availability");
            }
            (Err(error), _) => {
                self.cause = Some(format!("a stanza could not be written: {}", with_sources(&error)));
                self.fail_write(&transmit);
                self.lifecycle.handle_faulty_session(Instant::now());
                self.changed = true;
            }
        }
    }

    fn handle_written_state(&mut self, cause: Cause) {
        if cause != Cause::Hold {
            self.wrote.store(true, Ordering::Relaxed);
        }
        let counters = &self.fleet.counters;
        match cause {
            Cause::Command => {
                let Some(begun) = self.begun.take() else { return };
                let BegunRequest {
                    request,
                    address,
                    replaces,
                } = begun;
                if replaces {
                    let by = match request.command {
                        Command::Pause => EarlyEnd::Pause,
                        Command::Show(..) => EarlyEnd::Newer,
                    };
                    counters.ended_early[by].inc();
                }
                let took = request.age(Instant::now(), self.fleet.settings.send_timeout);
                self.tell_observers(Some((&address.to, took)));
                request.answer(Ok(ShownIn {
                    chat: address.chat,
                    unknown: address.unknown,
                }));
            }
            Cause::Hold => counters.resends.inc(),
            Cause::Deadline(deadline) => {
                let late = now().saturating_duration_since(deadline);
                counters.auto_pause_lateness.record(late);
            }
            Cause::OwnMessage => counters.ended_early[EarlyEnd::Message].inc(),
            Cause::Shutdown => counters.ended_early[EarlyEnd::Shutdown].inc(),
        }
    }

    /// The session takes no stanza any more, and did not take `transmit`. What a client asked for with it, or
    /// was about to, is void.
    pub(super) fn fail_write(&mut self, transmit: &Transmit) {
        let begun = self.begun.take();
        if let Some(begun) = &begun {
            self.indicators
                .handle_failure(now(), &begun.address.to, Cause::Command);
        }
        if let Transmit::ChatState { chat, cause, .. } = transmit
            && *cause != Cause::Command
        {
            self.indicators.handle_failure(now(), chat, *cause);
        }
        self.indicators.handle_session_down(now());
        if let Some(begun) = begun {
            begun.request.answer(Err(ShowError::NotConnected));
        }
    }
}

fn with_sources(error: &dyn Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn result_of(found: &Found) -> LookUpResult {
    match found {
        // The device may have learnt no other name.
        Found::Contact(contact) if contact.number.is_none() && contact.lid.is_none() => LookUpResult::Unknown,
        Found::Contact(_) => LookUpResult::Found,
        Found::Unknown => LookUpResult::Unknown,
        Found::Failed => LookUpResult::Failed,
    }
}
