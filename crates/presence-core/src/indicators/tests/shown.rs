//! What is told to those who watch.

use super::*;

impl Session {
    /// What has changed since this was last asked: `<chat> <indicator> <hold> until <second>`.
    fn changes(&mut self) -> Vec<String> {
        let changes = std::iter::from_fn(|| self.indicators.poll_change());
        let start = self.start;
        let line = |ShownChange { chat, shown }: ShownChange| match shown {
            None => format!("{} nothing", chat.user()),
            Some(shown) => format!(
                "{} {:?} {} until {}",
                chat.user(),
                shown.indicator,
                shown.hold.map_or(0, Hold::as_secs),
                (shown.until - start).as_secs_f64()
            ),
        };
        changes.map(line).collect()
    }
}

fn watched() -> Session {
    let mut session = Session::new();
    session.indicators.watch_changes(true);
    session
}

#[test]
fn each_indicator_is_told_when_it_comes_and_when_it_is_over_and_not_when_it_is_sent_again() {
    let mut session = watched();
    session.show(0.0, "7", TYPING, 12);
    session.show(0.0, "8", RECORDING, 0);
    assert_eq!(
        session.changes(),
        ["7 Typing 12 until 12", "8 Recording 0 until 10"]
    );
    session.wait_until(9.0);
    assert!(session.changes().is_empty());
    session.wait_until(12.0);
    assert_eq!(session.changes(), ["7 nothing", "8 nothing"]);
}

#[test]
fn what_replaces_an_indicator_or_ends_it_is_told_once() {
    let mut session = watched();
    session.show(0.0, "7", TYPING, 12);
    session.show(1.0, "7", RECORDING, 5);
    assert_eq!(session.changes(), ["7 Recording 5 until 6"]);
    session.pause(2.0, "7");
    session.pause(3.0, "7");
    assert_eq!(session.changes(), ["7 nothing"]);
    session.pause(4.0, "8");
    assert!(session.changes().is_empty());
}

#[test]
fn a_command_that_failed_leaves_what_was_told_before() {
    let mut session = watched();
    session.show(0.0, "7", TYPING, 12);
    session.changes();
    session.show(1.0, "7", RECORDING, 5);
    session.fail("7");
    assert_eq!(session.changes(), ["7 Typing 12 until 12"]);
}

#[test]
fn a_chat_that_gets_another_name_is_told_by_that_name() {
    let mut session = watched();
    session.show(0.0, "7", TYPING, 12);
    session.changes();
    session.indicators.handle_alias(session.now, jid("7"), jid("8"));
    assert_eq!(session.changes(), ["7 nothing", "8 Typing 12 until 12"]);
}

#[test]
fn a_shutdown_ends_what_is_shown_also_while_down() {
    for down in [false, true] {
        let mut session = watched();
        session.show(0.0, "7", TYPING, 12);
        session.changes();
        if down {
            session.down(1.0);
            assert!(session.changes().is_empty());
        }
        session.shut_down(2.0);
        assert_eq!(session.changes(), ["7 nothing"]);
    }
}

#[test]
fn what_is_over_by_its_time_is_not_shown_while_down_either() {
    let mut session = watched();
    session.show(0.0, "7", TYPING, 5);
    session.down(1.0);
    let shown = |session: &Session, at| {
        let now = session.start + Duration::from_secs(at);
        session.indicators.shown_at(now).count()
    };
    assert_eq!((shown(&session, 4), shown(&session, 5)), (1, 0));
}

#[test]
fn nothing_is_noted_for_nobody() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.indicators.watch_changes(true);
    assert!(session.changes().is_empty());
    session.pause(1.0, "7");
    session.indicators.watch_changes(false);
    assert!(session.changes().is_empty());
}
