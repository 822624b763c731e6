//! What one node asks of another: each call with its answer, as they travel.
//!
//! Nodes of two versions talk while a cluster is upgraded: a call keeps its name and fields, and what is added to one
//! has a default. A call that a node does not know it refuses, and nothing was done: whoever makes a new one has another
//! way then.

use std::time::Duration;

use presence_core::{
    ChatJid, ChatPresenceRequest, Hold, Indicator, InstanceId, PresenceSent, PresenceState, Shown,
};
use presence_wa::{ConnectError, Connected, ReconnectError, ShowError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::pairing_links::Opened;
use crate::rate_limit::{Bucket, Standing};
use crate::scope::Scope;

/// A call from one node to another.
pub(crate) trait NodeCall: Serialize + DeserializeOwned + Send + Sync {
    /// Its name in frames.
    const NAME: &'static str;
    /// How long its answer is waited for.
    const PATIENCE: Duration;
    /// Whether it comes to the same when it is carried out twice, so that it may be asked again when its answer is lost.
    const IS_REPEATABLE: bool = false;
    /// What comes of it.
    type Answer: Serialize + DeserializeOwned + Send;
}

macro_rules! node_calls {
    ($($call:ident($name:literal, $seconds:literal s $(, repeatable: $repeatable:literal)?) -> $answer:ty;)*) => {
        $(impl NodeCall for $call {
            const NAME: &'static str = $name;
            const PATIENCE: Duration = Duration::from_secs($seconds);
            $(const IS_REPEATABLE: bool = $repeatable;)?
            type Answer = $answer;
        })*
    };
}

node_calls! {
    Show("show", 8 s, repeatable: true) -> Result<PresenceSent, ShowError>;
    CountAndShow("count_and_show", 8 s) -> Counted;
    ShownIn("shown", 5 s, repeatable: true) -> Vec<ShownChat>;
    Connect("connect", 70 s) -> Result<Connected, ConnectError>;
    Reconnect("reconnect", 15 s) -> Result<(), ReconnectError>;
    LogOut("logout", 30 s) -> Result<(), ChangeFailed>;
    Remove("remove", 30 s) -> Result<bool, ChangeFailed>;
    ApplySettings("settings", 5 s) -> ();
    Count("count", 2 s) -> Option<Standing>;
    CreateLink("link", 5 s) -> String;
    RevokeLink("unlink", 5 s) -> ();
    OpenLink("open", 5 s) -> Option<Opened>;
}

/// Shows or ends an indicator.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Show {
    pub(crate) instance: InstanceId,
    pub(crate) presence: ChatPresenceRequest,
}

/// Counts a request, and shows what it asks for unless it is one too many.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CountAndShow {
    pub(crate) count: Count,
    pub(crate) show: Show,
}

/// A request that was counted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    /// `None`: such requests are not limited.
    pub(crate) standing: Option<Standing>,
    /// `None`: it was one too many, or the node does not have the instance.
    pub(crate) shown: Option<Result<PresenceSent, ShowError>>,
}

/// What an instance shows.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ShownIn {
    pub(crate) instance: InstanceId,
}

/// What a chat shows.
#[derive(Serialize, Deserialize)]
pub(crate) struct ShownChat {
    chat: ChatJid,
    state: PresenceState,
    /// Seconds, as they were asked for; 0 without.
    duration: u8,
    remaining_ms: u64,
}

impl ShownChat {
    pub(crate) fn new(chat: ChatJid, shown: &Shown) -> Self {
        let left = shown.until.saturating_duration_since(Instant::now().into_std());
        Self {
            chat,
            state: shown.indicator.into(),
            duration: shown.hold.map_or(0, Hold::as_secs),
            remaining_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// `None` when it is no indicator after all.
    pub(crate) fn into_shown(self) -> Option<(ChatJid, Shown)> {
        let indicator: Indicator = self.state.indicator()?;
        let shown = Shown {
            indicator,
            hold: Hold::from_secs(self.duration.into()),
            until: (Instant::now() + Duration::from_millis(self.remaining_ms)).into_std(),
        };
        Some((self.chat, shown))
    }
}

/// Gets an instance online, or what a phone needs to link it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Connect {
    pub(crate) instance: InstanceId,
    /// That of the phone which is to type a code; without one, a QR code is wanted.
    pub(crate) number: Option<String>,
}

/// Opens a saved session again.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Reconnect {
    pub(crate) instance: InstanceId,
}

/// Unlinks a device.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LogOut {
    pub(crate) instance: InstanceId,
}

/// Unlinks a device and deletes its instance.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Remove {
    pub(crate) instance: InstanceId,
}

/// A change that was not made at the other node, which has logged why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChangeFailed {
    /// The node stops.
    Stopping,
    /// The database does not answer.
    DatabaseAway,
    /// A defect.
    Internal,
}

/// Acts on the settings that the registry holds now.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ApplySettings {
    pub(crate) instance: InstanceId,
}

/// Counts a request.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) scope: Scope,
    pub(crate) bucket: Bucket,
}

/// Makes a pairing link.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct CreateLink {
    pub(crate) instance: InstanceId,
}

/// Makes an instance's pairing link void.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RevokeLink {
    pub(crate) instance: InstanceId,
}

/// Asks what a pairing link opens.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OpenLink {
    pub(crate) secret: String,
}
