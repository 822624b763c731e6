//! Stanzas that wait until their test says what becomes of them.

use tokio::sync::oneshot;

use super::{State, World};
use crate::session::SendError;

/// A stanza that waits for the socket.
pub(crate) struct UnderWay {
    what: String,
    end: oneshot::Sender<Result<(), SendError>>,
}

impl World {
    /// What waits for the socket, as `composing 01`.
    pub(crate) fn under_way(&self) -> Vec<String> {
        let mut state = self.lock();
        state.under_way.retain(|stanza| !stanza.end.is_closed());
        state.under_way.iter().map(|stanza| stanza.what.clone()).collect()
    }

    /// The socket takes `what`, or fails.
    pub(crate) fn end_write(&self, what: &str, result: Result<(), SendError>) {
        let mut state = self.lock();
        let place = state.under_way.iter().position(|stanza| stanza.what == what);
        let stanza = state.under_way.remove(place.expect("it is under way"));
        drop(state);
        let _ = stanza.end.send(result);
    }

    /// The socket takes all that waits for it.
    pub(crate) fn take_all(&self) {
        for what in self.under_way() {
            self.end_write(&what, Ok(()));
        }
    }

    /// From now on the socket takes everything at once.
    pub(crate) fn hold_no_stanzas(&self) {
        self.lock().holds_stanzas = false;
        self.take_all();
    }
}

impl State {
    /// Says when `what` may be written, or fails, if the test holds stanzas.
    pub(super) fn hold(&mut self, what: &str) -> Option<oneshot::Receiver<Result<(), SendError>>> {
        self.holds_stanzas.then(|| {
            let (end, ended) = oneshot::channel();
            let what = what.to_owned();
            self.under_way.push(UnderWay { what, end });
            ended
        })
    }
}
