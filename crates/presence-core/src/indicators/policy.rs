//! What an instance sets, and what is refused to its clients.

/// How many chats one session may show something in at a time, including those that are owed a `paused`; and
/// how many other names of chats it remembers. Nobody types in so many; it bounds a session to some 30 MB
/// whatever its clients ask for and WhatsApp tells.
pub const MAX_CHATS: usize = 65_536;

/// How many commands may be under way at a time: that many can still turn out void. When one more is given, the
/// earliest counts as written. What a session takes at once is less or as much, and each costs 200 bytes.
pub const MAX_OPEN_COMMANDS: usize = 8;

/// What an instance sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Be available while something is shown. On by default.
    pub raise_availability: bool,
    /// Be available all the time. Off by default.
    pub keep_online: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            raise_availability: true,
            keep_online: false,
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The session is down or closing.
    #[error("the session takes no commands now")]
    Offline,
    /// [`MAX_CHATS`] show something already.
    #[error("{MAX_CHATS} chats show something already")]
    TooManyChats,
}
