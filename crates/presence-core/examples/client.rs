//! A client of the service on this crate's types: shows "typing…" while an answer is thought up, and ends it.
//!
//! `PRESENCE_URL=http://127.0.0.1:8080 PRESENCE_TOKEN=… cargo run -p presence-core --example client -- shop 5511999999999`

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use presence_core::{ChatPresence, ChatPresenceRequest, Hold, PresenceSent, Recipient};
use serde::Deserialize;

fn main() -> Result<(), Box<dyn Error>> {
    let [instance, number] = arguments()?;
    let client = Client::from_env(&instance)?;
    let recipient: Recipient = number.parse()?;
    let mut out = io::stdout();

    let typing = ChatPresence::typing(recipient.clone(), Some(Hold::MAX));
    match client.send(&typing) {
        Ok(sent) => {
            let seconds = sent.hold().map_or(0, Hold::as_secs);
            writeln!(out, "typing in {} for {seconds} s", sent.chat())?;
        }
        Err(CallError::Refused { status: 503, error }) => {
            return Ok(writeln!(out, "not shown: {}", error.message)?);
        }
        Err(error) => return Err(error.into()),
    }
    let answer = think();
    // … send `answer` through your gateway: on the same account, it ends the indicator by itself …
    writeln!(out, "answered: {answer}")?;
    client.send(&ChatPresence::pause(recipient))?;
    Ok(writeln!(out, "done")?)
}

/// Where a model would be asked.
#[expect(clippy::disallowed_methods, reason = "a model takes its time")]
fn think() -> &'static str {
    std::thread::sleep(Duration::from_secs(3));
    "Your order arrives today."
}

/// One instance of a service.
struct Client {
    agent: ureq::Agent,
    url: String,
    token: String,
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    /// The service said no, in its words.
    #[error("{status}: {}", error.message)]
    Refused { status: u16, error: ErrorMessage },
    #[error(transparent)]
    Http(#[from] ureq::Error),
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorMessage,
}

#[derive(Debug, Deserialize)]
struct ErrorMessage {
    message: String,
}

impl Client {
    fn from_env(instance: &str) -> Result<Self, Box<dyn Error>> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Ok(Self {
            agent: config.into(),
            url: format!("{}/api/chat/presence/{instance}", std::env::var("PRESENCE_URL")?),
            token: std::env::var("PRESENCE_TOKEN")?,
        })
    }

    fn send(&self, presence: &ChatPresence) -> Result<PresenceSent, CallError> {
        let request = self.agent.post(&self.url).header("token", &self.token);
        let mut response = request.send_json(ChatPresenceRequest::from(presence))?;
        if response.status().is_success() {
            return Ok(response.body_mut().read_json()?);
        }
        let status = response.status().as_u16();
        let ErrorBody { error } = response.body_mut().read_json()?;
        Err(CallError::Refused { status, error })
    }
}

fn arguments() -> Result<[String; 2], Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    arguments
        .try_into()
        .map_err(|_| "usage: client INSTANCE NUMBER".into())
}
