//! Persons with more than one name.

use super::*;

impl Session {
    pub(super) fn alias(&mut self, at: f64, alias: &str, chat: &str) {
        self.wait_until(at);
        self.indicators.handle_alias(self.now, jid(alias), jid(chat));
        self.drain();
    }

    fn shows(&self, chat: &str) -> bool {
        self.indicators.is_shown(&jid(chat))
    }
}

#[test]
fn an_indicator_goes_on_under_the_new_name() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.alias(2.0, "7", "1");
    assert!(session.shows("7") && session.shows("1"));
    assert_eq!(session.indicators.shown(), 1);
    let expected = [
        "0 Available",
        "0 7 Composing",
        "5 1 Composing",
        "10 1 Composing",
        "12 1 Paused",
        "22 Unavailable",
    ];
    assert_eq!(session.rest(), expected);
    session.show(300.0, "7", RECORDING, 5);
    assert_eq!(session.rest_of_chats(), ["300 1 Recording", "305 1 Paused"]);
}

#[test]
fn a_paused_goes_where_the_last_indicator_went() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.alias(2.0, "7", "1");
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "5 7 Paused"]);
    session.show(300.0, "7", TYPING, 5);
    assert_eq!(session.rest_of_chats(), ["300 1 Composing", "305 1 Paused"]);

    // One that is asked for under the new name, too; and what comes after it goes to the new name.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session.alias(2.0, "7", "1");
    session.pause(3.0, "1");
    session.pause(4.0, "1");
    session.show(5.0, "1", TYPING, 0);
    session.shut_down(6.0);
    let expected = [
        "0 7 Composing",
        "3 7 Paused",
        "4 1 Paused",
        "5 1 Composing",
        "6 1 Paused",
    ];
    assert_eq!(session.rest_of_chats(), expected);

    // And one that failed goes there again.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 5);
    session.alias(2.0, "7", "1");
    session.wait_until(5.0);
    session.fail("7");
    assert_eq!(
        session.rest_of_chats(),
        ["0 7 Composing", "5 7 Paused", "10 7 Paused"]
    );
}

#[test]
fn a_command_under_either_name_replaces_what_the_other_shows() {
    let mut session = Session::new();
    session.alias(0.0, "7", "1");
    session.show(0.0, "1", TYPING, 60);
    session.show(2.0, "7", RECORDING, 5);
    assert_eq!(
        session.rest_of_chats(),
        ["0 1 Composing", "2 1 Recording", "7 1 Paused"]
    );
}

#[test]
fn of_two_indicators_the_later_command_wins_and_one_paused_ends_it() {
    for (alias, chat) in [("7", "8"), ("8", "7")] {
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, 60);
        session.show(1.0, "8", RECORDING, 12);
        session.alias(2.0, alias, chat);
        assert_eq!(session.indicators.shown(), 1);
        let (first, second) = (format!("6 {chat} Recording"), format!("11 {chat} Recording"));
        let paused = format!("13 {chat} Paused");
        let expected = ["0 7 Composing", "1 8 Recording", &first, &second, &paused];
        assert_eq!(session.rest_of_chats(), expected, "{alias} is {chat}");
    }
    // The later one is asked for after a re-send of the earlier.
    let mut session = Session::new();
    session.show(0.0, "8", TYPING, 60);
    session.show(7.0, "7", RECORDING, 3);
    session.alias(8.0, "7", "8");
    let expected = ["0 8 Composing", "5 8 Composing", "7 7 Recording", "10 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn names_are_followed_and_the_last_word_wins() {
    // A chain, in either order.
    for links in [[("7", "8"), ("8", "9")], [("8", "9"), ("7", "8")]] {
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, 60);
        for (alias, chat) in links {
            session.alias(1.0, alias, chat);
        }
        assert!(
            session.shows("7") && session.shows("8") && session.shows("9"),
            "{links:?}"
        );
        session.show(2.0, "7", RECORDING, 3);
        assert_eq!(
            session.rest_of_chats(),
            ["0 7 Composing", "2 9 Recording", "5 9 Paused"]
        );
    }

    // A contradiction.
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 12);
    session.alias(1.0, "7", "8");
    session.alias(6.0, "8", "7");
    let expected = ["0 7 Composing", "5 8 Composing", "10 7 Composing", "12 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);
    session.show(300.0, "8", TYPING, 0);
    assert!(session.shows("7"));

    // A circle of three.
    let mut session = Session::new();
    for (alias, chat) in [("7", "8"), ("8", "9"), ("9", "7")] {
        session.alias(0.0, alias, chat);
    }
    session.show(0.0, "8", TYPING, 5);
    assert_eq!(session.rest_of_chats(), ["0 7 Composing", "5 7 Paused"]);

    // A name that is told to be itself is nobody else's.
    let mut session = Session::new();
    session.alias(0.0, "7", "7");
    session.alias(0.0, "7", "8");
    session.show(0.0, "7", TYPING, 12);
    session.alias(1.0, "7", "7");
    assert!(session.shows("7") && !session.shows("8"));
    let expected = ["0 8 Composing", "5 7 Composing", "10 7 Composing", "12 7 Paused"];
    assert_eq!(session.rest_of_chats(), expected);

    // A number whose owner has changed: the name in between is a chat of its own again.
    let mut session = Session::new();
    session.alias(0.0, "7", "8");
    session.alias(0.0, "7", "9");
    session.show(0.0, "7", TYPING, 0);
    assert!(session.shows("9") && !session.shows("8"));
}

#[test]
fn a_failed_command_is_void_under_every_name() {
    // The alias comes between the command and its failure, and the accepted hold is under the other name.
    for (alias, chat) in [("7", "8"), ("8", "7")] {
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, 12);
        session.show(3.0, "8", RECORDING, 60);
        session.alias(3.0, alias, chat);
        session.fail(alias);
        let (first, second) = (format!("5 {chat} Composing"), format!("10 {chat} Composing"));
        let paused = format!("12 {chat} Paused");
        let expected = ["0 7 Composing", "3 8 Recording", &first, &second, &paused];
        assert_eq!(session.rest_of_chats(), expected, "{alias} is {chat}");
    }

    // A pause is answered for, and fails, under the address that it went to as well.
    for failed in ["7", "1"] {
        let mut session = Session::new();
        session.show(0.0, "7", TYPING, 9);
        session.alias(1.0, "7", "1");
        session.pause(2.0, "1");
        session.fail(failed);
        let expected = ["0 7 Composing", "2 7 Paused", "5 1 Composing", "9 1 Paused"];
        assert_eq!(session.rest_of_chats(), expected, "{failed}");
    }
}

#[test]
fn a_paused_that_failed_at_a_shared_address_voids_no_command_there() {
    let mut session = Session::new();
    session.alias(0.0, "7", "8");
    session.show(0.0, "7", TYPING, 3);
    // "8" was not this person after all, but the indicator went there.
    session.alias(1.0, "7", "9");
    session.show(2.0, "8", RECORDING, 6);
    session.wait_until(3.0);
    session.fail("8");
    let expected = [
        "0 8 Composing",
        "2 8 Recording",
        "3 8 Paused",
        "7 8 Recording",
        "8 8 Paused",
    ];
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn a_pause_that_meets_an_indicator_of_the_other_name_ends_it() {
    let mut session = Session::new();
    session.show(0.0, "7", TYPING, 60);
    session
        .indicators
        .handle_command(session.now, jid("8"), Command::Pause)
        .unwrap();
    session.indicators.handle_alias(session.now, jid("7"), jid("8"));
    session.drain();
    assert_eq!(
        session.rest(),
        ["0 Available", "0 7 Composing", "0 7 Paused", "10 Unavailable"]
    );
}

#[test]
fn a_paused_that_is_owed_does_not_end_what_another_name_shows() {
    let mut session = Session::new();
    session.show(0.0, "8", TYPING, 20);
    session.show(0.0, "7", TYPING, 3);
    session.wait_until(3.0);
    session.fail("7");
    session.alias(4.0, "7", "8");
    let expected = [
        "0 8 Composing",
        "0 7 Composing",
        "3 7 Paused",
        "5 8 Composing",
        "10 8 Composing",
        "15 8 Composing",
        "20 8 Paused",
    ];
    assert_eq!(session.rest_of_chats(), expected);
}

#[test]
fn aliases_are_bounded_and_the_unused_go_first() {
    let mut session = Session::new();
    let name = |number: usize| jid(&(1_000_000 + number).to_string());
    session.show(0.0, "7", TYPING, 60);
    session.alias(0.0, "6", "7");
    // The latest command is in use too: it may fail, though its chat shows nothing.
    session.alias(0.0, "4", "5");
    session.pause(0.0, "4");
    for number in 0..MAX_CHATS - 2 {
        session
            .indicators
            .handle_alias(session.now, name(number), jid("9"));
    }
    assert_eq!(session.indicators.aliases.len(), MAX_CHATS);
    assert_eq!(session.indicators.aliases.resolve(&name(3)), &jid("9"));
    session.alias(0.0, "1", "2");
    assert_eq!(session.indicators.aliases.len(), 3);
    assert_eq!(session.indicators.aliases.resolve(&name(3)), &name(3));
    assert!(session.shows("6"));

    // When all are in use, a new one is carried out, and not remembered.
    session.show(1.0, "9", TYPING, 60);
    session.indicators.handle_alias(session.now, jid("1"), jid("9"));
    for number in 0..MAX_CHATS {
        session
            .indicators
            .handle_alias(session.now, name(number), jid("9"));
    }
    assert_eq!(session.indicators.aliases.len(), MAX_CHATS);
    session.show(2.0, "3", RECORDING, 60);
    session.alias(3.0, "3", "7");
    assert!(session.shows("7") && !session.shows("3"));
    assert_eq!(session.indicators.aliases.len(), MAX_CHATS);
    assert_eq!(session.indicators.aliases.resolve(&name(3)), &jid("9"));
    let sent = session.rest_of_chats();
    assert!(sent.contains(&"7 7 Recording".to_owned()) && sent.contains(&"62 7 Paused".to_owned()));
    assert!(!sent.contains(&"60 7 Paused".to_owned()));
}
