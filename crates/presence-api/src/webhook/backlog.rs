//! What is still to be told of one instance.

use std::collections::VecDeque;

use super::message::Message;

/// Messages in the order in which they are delivered. There is room for a few, since what an instance was is soon of
/// no interest: for the latest, the oldest has to go.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<Message>);

impl Backlog {
    const ROOM: usize = 16;

    /// Adds the latest message, and returns the one that had to go for it.
    pub(super) fn push(&mut self, message: Message) -> Option<Message> {
        let gone = (self.0.len() == Self::ROOM).then(|| self.0.pop_front());
        self.0.push_back(message);
        gone.flatten()
    }

    /// The message that is next.
    pub(super) fn pop(&mut self) -> Option<Message> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_in_order() {
        let message = |number: usize| Message {
            id: format!("msg_{number}"),
            body: "{}".into(),
        };
        let mut backlog = Backlog::default();
        for number in 0..20_usize {
            let expected = number.checked_sub(Backlog::ROOM).map(message);
            assert_eq!(backlog.push(message(number)), expected);
        }
        let left: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(left, (4..20).map(message).collect::<Vec<_>>());
    }
}
