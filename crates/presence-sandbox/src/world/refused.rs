//! Why the sandbox did not do what a client wished.

use serde::Serialize;

/// Why a login or a stanza had no effect, or not the one that its sender wished. Faults are not among it: they
/// are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refused {
    /// A login as a device that is not linked, or not any more. Answered with failure 401.
    NotLinked,
    /// A login as a device that a phone has accepted but WhatsApp has not registered yet. Answered with failure 401.
    NotRegistered,
    /// A login of a device that was connected: its older connection is ended with `<conflict type="replaced">`.
    Replaced,
    /// From a connection that a newer one of the same device has replaced. It counts for nobody.
    Superseded,
    /// A chat state, a presence or a message before `<success>`, or from a device that is not linked.
    NotLoggedIn,
    /// A chat state, a presence or a message from a device that has not gone active since it logged in.
    Passive,
    /// From an account whose chats have moved to LIDs to the number of somebody who has a LID. Shown to nobody.
    NumberOfMoved,
    /// To a LID from an account whose chats have not moved. Answered with error 400.
    LidOfUnmoved,
    /// An upload of keys, or the confirmation of a linking, that the device's identity did not sign. The upload is
    /// answered with error 406; the device is not linked.
    WrongSignature,
    /// An upload with a one-time pre-key that was given out already. Answered with error 406.
    PreKeyUsed,
    /// An upload with another identity than the one that was linked. Answered with error 406.
    WrongIdentity,
    /// To nobody: a number that is not on WhatsApp or is another spelling of one, an unknown LID, no JID at all.
    NoRecipient,
}
