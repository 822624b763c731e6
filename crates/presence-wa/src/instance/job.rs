//! What goes into the life of an instance, and what comes out: jobs, their ends, answers.

use tokio::time::Instant;

use crate::error::ReconnectError;
use crate::login_limiter::Priority;
use crate::session::Identity;

/// What an instance begins with.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    pub(super) keys: Keys,
    /// The registry says that it was logged out.
    pub(super) logged_out: bool,
    /// Until when the registry says that it is banned.
    pub(super) banned_until: Option<Instant>,
    /// Its saved session is to be reopened.
    pub(super) resume: bool,
}

/// What is known of the device keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Not read yet.
    Unknown,
    /// There are none.
    Nothing,
    /// There may be some, but none of a finished pairing.
    Unpaired,
    /// The device is paired.
    Paired(Identity),
    /// Of a device that is not linked any more. They are wiped before anything else is done with them.
    Useless,
}

/// A piece of work that the driver does for the machine, one at a time. Each is bounded by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Wait for a turn of the login limiter.
    TakeTurn(Priority),
    /// Read who the device is paired with.
    LoadKeys,
    /// Write down that a pairing begins, before its first key is made.
    RecordPairing,
    /// Open a session.
    Open,
    /// Pause what the session shows.
    SayFarewell,
    /// Unlink the device and close the session.
    Unlink,
    /// Close the session.
    Close,
    /// Write down that the device is not linked any more.
    RecordLogout,
    /// Write down until when WhatsApp bans the account; `None`: not any more.
    RecordBan(Option<Instant>),
    /// Wipe the keys.
    WipeKeys,
    /// Look the client version up.
    RefreshVersion,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobDone {
    /// As it should.
    Done,
    /// [`Job::Open`]: a session is open now.
    Opened {
        /// It connects to WhatsApp without a proxy.
        direct: bool,
    },
    /// [`Job::LoadKeys`]: who the device is paired with.
    Loaded(Option<Identity>),
    /// [`Job::RefreshVersion`]: whether there is another version.
    Refreshed(bool),
    /// Not, or not in time. The driver has logged why.
    Failed,
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Begin this job.
    Begin(Job),
    /// Drop the job that is under way: it only waits, and what for is not wanted any more.
    Abandon,
}

/// What those who wait are told, all of one kind at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To those who asked to reconnect.
    Reconnect(Result<(), ReconnectError>),
    /// To those who asked to log out: it is done, or was overtaken by a removal.
    LoggedOut,
    /// To those who asked to remove the instance; whether its keys are wiped.
    Removed {
        /// No key is left.
        wiped: bool,
    },
}
