//! The JSON of a presence, both ways, as the contract has it, and nothing else of the service.

use serde::{Deserialize, Serialize};

/// A presence as its clients send it.
#[derive(Deserialize)]
pub(crate) struct Request {
    number: String,
    state: String,
    duration: u64,
}

/// What it is answered.
#[derive(Serialize)]
pub(crate) struct Answer {
    success: bool,
    message: String,
    chat_jid: String,
    state: String,
    duration: u64,
}

impl Request {
    pub(crate) fn answer(self) -> Answer {
        Answer {
            success: true,
            message: format!(
                "Presence '{}' sent successfully (will auto-pause after {} seconds)",
                self.state, self.duration
            ),
            chat_jid: format!("{}@s.whatsapp.net", self.number),
            state: self.state,
            duration: self.duration,
        }
    }
}
