//! What clients ask to be shown, on its way to a stanza that is written.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use presence_core::{Cause, ChatJid, Command, NextTransmit, Refused, Transmit};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{InstanceTask, now};
use crate::counters::{EarlyEnd, LookUpResult};
use crate::error::ShowError;
use crate::instance::job::JobDone;
use crate::instance::lookups::look_up;
use crate::instance::message::{BegunRequest, PresenceRequest, ShownIn};
use crate::instance::numbers::{Found, Route};
use crate::instance::stanza::{Stanza, WriteError};
use crate::session::SendError;

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
        let begun = self.begun.iter().map(|begun| &begun.address.to);
        let is_theirs = |chat: &&ChatJid| {
            let mut theirs = names.iter().chain([&to]);
            theirs.any(|name| self.indicators.is_same_chat(name, chat))
        };
        // If commands under two names failed, the indicators could not tell what was before both.
        if self.writes.addresses().chain(begun).filter(is_theirs).count() > 1 {
            self.unjoined.push(person.clone());
            return;
        }
        for name in names {
            self.indicators.handle_alias(now(), name, to.clone());
        }
    }

    /// Begins to write what can be under way together: what the indicators want sent, then what the next requests
    /// ask for.
    pub(super) fn pump_stanzas(&mut self) {
        if self.writes.is_empty() {
            for person in std::mem::take(&mut self.unjoined) {
                self.join_names(&person);
            }
        }
        let now = Instant::now();
        self.held_up = self.begin_writes(now);
        if self.farewell_until.is_some_and(|until| until <= now) {
            warn!("pausing the indicators took too long");
            self.end_farewell();
        }
    }

    /// Whether what comes next has to wait for a stanza that is under way.
    fn begin_writes(&mut self, now: Instant) -> bool {
        loop {
            let Some(session) = self.session.as_ref().map(|open| &open.session) else {
                self.refuse_all();
                return false;
            };
            if !self.writes.has_room() || !self.unjoined.is_empty() {
                return true;
            }
            match self.indicators.poll_transmit_beside(self.writes.addresses()) {
                NextTransmit::Now(transmit) => {
                    let is_commands = matches!(
                        transmit,
                        Transmit::ChatState {
                            cause: Cause::Command,
                            ..
                        }
                    );
                    let begun = self.begun.take_if(|_| is_commands);
                    let until = now + self.fleet.settings.send_timeout;
                    self.writes.begin(session, Stanza { transmit, begun }, until);
                    continue;
                }
                NextTransmit::Waits => return true,
                NextTransmit::Nothing => {}
            }
            if let Some(begun) = self.begun.take() {
                let chat = &begun.address.to;
                self.indicators
                    .handle_failure(now.into_std(), chat, Cause::Command);
                begun.request.answer(Err(ShowError::NotConnected));
            }
            if self.farewell_until.is_some() {
                if self.writes.is_empty() {
                    self.end_farewell();
                }
                return false;
            }
            if !self.begin_next_request(now) {
                return false;
            }
        }
    }

    /// Begins the request that is first, if there is one and nothing is under way to its chat. Those behind it wait
    /// with it.
    fn begin_next_request(&mut self, now: Instant) -> bool {
        let Some(request) = self.ready.pop_front() else {
            return false;
        };
        if request.is_given_up(now) {
            return true;
        }
        if !self.lifecycle.is_online() {
            request.answer(Err(ShowError::NotConnected));
            return true;
        }
        let address = self.numbers.address(&request.recipient, self.is_moved_to_lids());
        let is_there = |under_way: &ChatJid| self.indicators.is_same_chat(under_way, &address.to);
        if self.writes.addresses().any(is_there) {
            self.ready.push_front(request);
            return false;
        }
        let replaces = self.indicators.has_yet_to_end(&address.to);
        let begun = BegunRequest {
            request,
            address,
            replaces,
        };
        self.begin_request(now, begun);
        true
    }

    /// Gives a request's command to the indicators. Its stanza is polled next.
    fn begin_request(&mut self, now: Instant, begun: BegunRequest) {
        let (chat, command) = (begun.address.to.clone(), begun.request.command);
        match self.indicators.handle_command(now.into_std(), chat, command) {
            Ok(()) => self.begun = Some(begun),
            Err(Refused::TooManyChats) => begun.request.answer(Err(ShowError::TooManyChats)),
            Err(_) => begun.request.answer(Err(ShowError::NotConnected)),
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
        let given_up = self.writes.give_up();
        self.void(given_up);
        self.lifecycle
            .handle_job(Instant::now(), JobDone::Done, &mut rand::rng());
    }

    /// Takes note of the stanzas that were written, and of those that were not.
    pub(super) fn handle_ended_writes(&mut self) {
        let mut failed = Vec::new();
        let now = Instant::now();
        while let Some(ended) = self.writes.take_ended() {
            let Stanza { transmit, begun } = ended.stanza;
            match (ended.written, &transmit) {
                (Ok(()), Transmit::ChatState { cause, .. }) => self.handle_written_state(now, *cause, begun),
                (Ok(()), Transmit::Availability(_)) => self.changed = true,
                // It is told again as soon as the account's name is known.
                (Err(WriteError::Failed(SendError::NoPushName)), Transmit::Availability(_)) => {
                    debug!("the account's name is not known yet: nothing is said of its availability");
                }
                (Err(error), _) => {
                    // The first says why; the others fail with it.
                    if failed.is_empty() {
                        self.cause = Some(format!("a stanza could not be written: {}", with_sources(&error)));
                    }
                    failed.push(Stanza { transmit, begun });
                }
            }
        }
        if !failed.is_empty() {
            self.fail_writes(failed);
            self.lifecycle.handle_faulty_session(Instant::now());
            self.changed = true;
        }
    }

    fn handle_written_state(&mut self, now: Instant, cause: Cause, begun: Option<BegunRequest>) {
        if cause != Cause::Hold {
            self.wrote.store(true, Ordering::Relaxed);
        }
        let counters = &self.fleet.counters;
        match cause {
            Cause::Command => {
                let Some(begun) = begun else { return };
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
                let took = request.age(now, self.fleet.settings.send_timeout);
                self.indicators.handle_written(&address.to);
                self.tell_observers(Some((&address.to, took)));
                request.answer(Ok(ShownIn {
                    chat: address.chat,
                    unknown: address.unknown,
                }));
            }
            Cause::Hold => counters.resends.inc(),
            Cause::Deadline(deadline) => {
                let late = now.into_std().saturating_duration_since(deadline);
                counters.auto_pause_lateness.record(late);
            }
            Cause::OwnMessage => counters.ended_early[EarlyEnd::Message].inc(),
            Cause::Shutdown => counters.ended_early[EarlyEnd::Shutdown].inc(),
        }
    }

    /// The session takes no stanza any more, and did not take those that `failed`. Nor is it known of any that is
    /// under way whether it did.
    pub(super) fn fail_writes(&mut self, mut failed: Vec<Stanza>) {
        failed.extend(self.writes.give_up());
        for stanza in &failed {
            if let Transmit::ChatState { chat, cause, .. } = &stanza.transmit
                && *cause != Cause::Command
            {
                self.indicators.handle_failure(now(), chat, *cause);
            }
        }
        self.void(failed);
    }

    /// What clients asked for with these stanzas, or were about to, is void, and no more are taken.
    fn void(&mut self, stanzas: Vec<Stanza>) {
        let begun = stanzas.into_iter().filter_map(|stanza| stanza.begun);
        let void: Vec<_> = begun.chain(self.begun.take()).collect();
        for begun in &void {
            self.indicators
                .handle_failure(now(), &begun.address.to, Cause::Command);
        }
        self.indicators.handle_session_down(now());
        for begun in void {
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
