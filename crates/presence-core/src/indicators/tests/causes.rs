//! Why each stanza is sent.

use super::*;

impl Session {
    /// Why the last stanza to `chat` was sent.
    fn cause(&self, chat: &str) -> Cause {
        self.causes[&jid(chat)]
    }

    fn deadline(&self, at: f64) -> Cause {
        Cause::Deadline(self.start + Duration::from_secs_f64(at))
    }
}

#[test]
fn a_hold_is_commanded_kept_up_and_ended_by_its_deadline() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 7);
    assert_eq!(session.cause("7"), Cause::Command);
    session.wait_until(5.0);
    assert_eq!(session.cause("7"), Cause::Hold);
    session.suspend_until(session.start + Duration::from_secs(9));
    assert_eq!(session.sent.last().unwrap(), "9 7 Paused");
    assert_eq!(session.cause("7"), session.deadline(7.0), "however late it is");
}

#[test]
fn what_comes_back_with_a_connection_is_kept_up_and_what_was_over_meanwhile_was_over_then() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.show(0.0, "8", TYPING, 5);
    session.down(1.0);
    session.up(20.0);
    assert_eq!(session.cause("7"), Cause::Hold);
    assert_eq!(session.cause("8"), session.deadline(5.0));
}

#[test]
fn a_pause_is_commanded_by_a_client_or_comes_of_a_message_or_of_the_end() {
    let mut session = Session::new();
    for chat in ["7", "8", "9"] {
        session.show(0.0, chat, TYPING, 60);
    }
    session.pause(1.0, "7");
    session.own_message(1.0, "8");
    session.shut_down(2.0);
    let causes = ["7", "8", "9"].map(|chat| session.cause(chat));
    assert_eq!(causes, [Cause::Command, Cause::OwnMessage, Cause::Shutdown]);
    let paused = session.sent.iter().filter(|line| line.ends_with("Paused"));
    assert_eq!(paused.count(), 3);
}

#[test]
fn a_pause_that_was_not_written_comes_again_for_the_same_cause() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.show(0.0, "8", TYPING, 60);
    session.wait_until(5.0);
    session.fail("7");
    session.own_message(6.0, "8");
    session.fail("8");
    session.sent.clear();
    session.causes.clear();
    assert_eq!(session.rest_of_chats(), ["10 7 Paused", "11 8 Paused"]);
    assert_eq!(session.cause("7"), session.deadline(5.0));
    assert_eq!(session.cause("8"), Cause::OwnMessage);
}

#[test]
fn what_a_message_ends_before_its_command_was_polled_is_the_commands_stanza() {
    let mut session = Session::new();
    let show = Command::Show(TYPING, Hold::from_secs(60));
    session
        .indicators
        .handle_command(session.now, jid("7"), show)
        .unwrap();
    session.indicators.handle_own_message(session.now, &jid("7"));
    session.drain();
    assert_eq!(session.sent.last().unwrap(), "0 7 Paused");
    assert_eq!(session.cause("7"), Cause::Command);
}
