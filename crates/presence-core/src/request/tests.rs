//! The contract's table of bodies and answers, and hostile bodies.

use proptest::prelude::*;

use super::*;

const BODY: &str = "Invalid request body";
const NO_NUMBER: &str = "Number is required";
const BAD_NUMBER: &str = "Invalid number. Use a phone number with country code, or a JID";
const NO_STATE: &str = "State is required. Use 'typing', 'recording', or 'pause'";
const BAD_STATE: &str = "Invalid state. Use 'typing', 'recording', or 'pause'";

fn decide(body: impl AsRef<[u8]>) -> Result<ChatPresence, InvalidRequest> {
    ChatPresenceRequest::from_json(body.as_ref()).and_then(ChatPresence::try_from)
}

fn fault(body: impl AsRef<[u8]>) -> String {
    decide(body).expect_err("the body is faulty").to_string()
}

/// The seconds that `duration` amounts to; `None` when the body is refused.
fn seconds(duration: &str) -> Option<u8> {
    let body = format!(r#"{{"number":"5511999999999","state":"typing","duration":{duration}}}"#);
    match decide(&body) {
        Ok(presence) => Some(presence.hold().map_or(0, Hold::as_secs)),
        Err(fault) => {
            assert_eq!(fault.to_string(), BODY, "{duration}");
            assert_eq!(fault.detail(), "duration: a number of seconds is needed");
            None
        }
    }
}

#[test]
fn a_request_says_who_what_and_for_how_long() {
    let presence = decide(r#"{"number":"+55 (11) 99999-9999","state":"Recording","duration":7}"#).unwrap();
    assert_eq!(
        presence.recipient().chat().as_str(),
        "5511999999999@s.whatsapp.net"
    );
    assert_eq!(presence.state(), PresenceState::Recording);
    assert_eq!(presence.hold(), Hold::from_secs(7));

    let presence = decide(r#"{"number":"120363025246125486@g.us","state":"typing"}"#).unwrap();
    assert_eq!(presence.recipient().chat().as_str(), "120363025246125486@g.us");
    assert_eq!(presence.hold(), None);
}

#[test]
fn every_fault_has_its_text_and_the_first_one_is_told() {
    let rows = [
        // The body comes first, whatever its fields say.
        ("", BODY),
        ("  ", BODY),
        ("null", BODY),
        ("5", BODY),
        (r#""typing""#, BODY),
        ("[]", BODY),
        (r#"["5511999999999","typing",5]"#, BODY),
        (r#"[{"number":"5511999999999","state":"typing"}]"#, BODY),
        (r#"{"number":"5511999999999","state":"typing""#, BODY),
        (r#"{"number":"5511999999999","state":"typing"}}"#, BODY),
        (r#"{"number":"5511999999999","state":"typing"} x"#, BODY),
        (r#"{"number":"5511999999999","state":"typing",}"#, BODY),
        (r#"{'number':'5511999999999','state':'typing'}"#, BODY),
        ("number=5511999999999&state=typing", BODY),
        (r#"{"number":5511999999999.5,"state":"typing"}"#, BODY),
        (r#"{"number":-5511999999999,"state":"typing"}"#, BODY),
        (r#"{"number":true,"state":"typing"}"#, BODY),
        (r#"{"number":["5511999999999"],"state":"typing"}"#, BODY),
        (r#"{"number":"5511999999999","state":true}"#, BODY),
        (r#"{"number":"5511999999999","state":{}}"#, BODY),
        (r#"{"state":"nonsense","duration":true}"#, BODY),
        (
            r#"{"number":"1","number":"5511999999999","state":"typing"}"#,
            BODY,
        ),
        (
            r#"{"number":"5511999999999","state":"typing","duration":1,"duration":1}"#,
            BODY,
        ),
        (r#"{"number":"\ud800","state":"typing"}"#, BODY),
        (
            "\u{feff}{\"number\":\"5511999999999\",\"state\":\"typing\"}",
            BODY,
        ),
        // Then the number.
        ("{}", NO_NUMBER),
        (r#"{"number":null,"state":null,"duration":null}"#, NO_NUMBER),
        (r#"{"number":"","state":"typing"}"#, NO_NUMBER),
        (r#"{"number":" \t\r\n\u00a0","state":"nonsense"}"#, NO_NUMBER),
        (r#"{"Number":"5511999999999","state":"typing"}"#, NO_NUMBER),
        (r#"{"number":"maria"}"#, BAD_NUMBER),
        (r#"{"number":0,"state":"typing"}"#, BAD_NUMBER),
        (r#"{"number":1234,"state":"nonsense"}"#, BAD_NUMBER),
        (
            r#"{"number":99999999999999999999999,"state":"typing"}"#,
            BAD_NUMBER,
        ),
        (r#"{"number":"123@newsletter","state":"nonsense"}"#, BAD_NUMBER),
        (r#"{"number":"5511999999999\u0000","state":"typing"}"#, BAD_NUMBER),
        // Then the state.
        (r#"{"number":"5511999999999"}"#, NO_STATE),
        (r#"{"number":"5511999999999","state":null}"#, NO_STATE),
        (r#"{"number":"5511999999999","state":"  "}"#, NO_STATE),
        (r#"{"number":"5511999999999","state":"composing"}"#, BAD_STATE),
        (r#"{"number":"5511999999999","state":"typing\u0000"}"#, BAD_STATE),
    ];
    for (body, text) in rows {
        // The order of faults must not hang on a hash map's, which differs from map to map.
        for _ in 0..8 {
            assert_eq!(fault(body), text, "{body}");
        }
    }
}

/// The seconds that these fields amount to; the fault's detail when they are refused.
fn seconds_for(state: &str, fields: &str) -> Result<u8, String> {
    let body = format!(r#"{{"number":"5511999999999","state":"{state}",{fields}}}"#);
    match decide(&body) {
        Ok(presence) => Ok(presence.hold().map_or(0, Hold::as_secs)),
        Err(fault) => {
            assert_eq!(fault.to_string(), BODY, "{fields}");
            Err(fault.detail().to_owned())
        }
    }
}

#[test]
fn a_message_takes_as_long_as_a_person_would_unless_a_duration_is_given() {
    let text = "x".repeat(42);
    let long = format!(r#""text":"{text}""#);
    // Characters are counted, neither bytes nor UTF-16 units.
    let emoji = format!(r#""text":"{}\ud83d\ude00""#, "😀é".repeat(20) + "x");
    let rows = [
        ("typing", long.as_str(), 6),
        ("recording", &long, 2),
        ("pause", &long, 0),
        ("typing", &emoji, 6),
        ("typing", r#""characters":42"#, 6),
        ("typing", r#""characters":42.0"#, 6),
        ("typing", r#""characters":4.2e1"#, 6),
        ("typing", r#""characters":42,"text":null"#, 6),
        ("typing", r#""characters":42,"duration":0"#, 6),
        ("typing", r#""characters":42,"duration":null"#, 6),
        ("typing", r#""characters":42,"duration":-3"#, 6),
        ("typing", r#""characters":42,"duration":"""#, 6),
        ("typing", r#""characters":42,"duration":9"#, 9),
        ("typing", r#""characters":42,"duration":0.2"#, 1),
        ("typing", r#""characters":9000,"text":"hi""#, 1),
        ("typing", r#""text":"""#, 1),
        ("typing", r#""characters":0"#, 1),
        ("typing", r#""characters":-0.0"#, 1),
        ("typing", r#""characters":1e400"#, 60),
        ("typing", r#""characters":99999999999999999999999"#, 60),
        ("typing", r#""characters":null,"text":null"#, 0),
    ];
    for (state, fields, expected) in rows {
        assert_eq!(seconds_for(state, fields), Ok(expected), "{state}, {fields}");
    }
    let whole_number = "characters: a whole number is needed, 0 or more";
    let rows = [
        (r#""text":7"#, "text: text is needed"),
        (r#""text":["hi"]"#, "text: text is needed"),
        (
            r#""text":"\ud83d""#,
            "text: half of a surrogate pair is no character",
        ),
        (r#""text":true,"duration":5"#, "text: text is needed"),
        (r#""characters":-1"#, whole_number),
        (r#""characters":1.5"#, whole_number),
        (r#""characters":"42""#, whole_number),
        (r#""characters":true,"text":"hi""#, whole_number),
        (r#""characters":{}"#, whole_number),
        (r#""characters":-1e400"#, whole_number),
        (r#""text":"a","text":"a""#, "body: a field is there twice"),
    ];
    for (fields, detail) in rows {
        for state in ["typing", "pause"] {
            assert_eq!(seconds_for(state, fields), Err(detail.to_owned()), "{fields}");
        }
    }
}

#[test]
fn another_pace_takes_another_time_and_nothing_is_kept_of_a_text() {
    let body = r#"{"number":"5511999999999","state":"typing","text":"my secret"}"#;
    let request = ChatPresenceRequest::from_json(body.as_bytes()).unwrap();
    assert!(!format!("{request:?}").contains("secret"));
    let written = serde_json::to_string(&request).unwrap();
    assert_eq!(
        written,
        r#"{"number":"5511999999999","state":"typing","characters":9}"#
    );
    let asked = ChatPresenceRequest::new("5511999999999", "typing", None).with_characters(9);
    assert_eq!(asked, request);
    let pace = Pace {
        typing: std::num::NonZeroU16::MIN,
        ..Pace::default()
    };
    let slow = asked.at_pace(pace).unwrap().hold().unwrap();
    assert!((8..=10).contains(&slow.as_secs()), "{slow:?}");
}

#[test]
fn bytes_that_are_no_utf8_are_no_json_wherever_they_are() {
    for body in [
        &b"\xff"[..],
        b"{\"number\":\"5511999999999\xff\",\"state\":\"typing\"}",
        b"{\"number\":\"5511999999999\",\"state\":\"typing\",\"note\":\"\xc3\x28\"}",
        b"{\"number\":\"5511999999999\",\"state\":\"typing\"}\xff",
    ] {
        assert_eq!(fault(body), BODY, "{body:?}");
    }
}

#[test]
fn a_number_may_be_a_number() {
    for number in [
        "5511999999999",
        "5511999999999.0",
        "5.511999999999e12",
        "55119999999990E-1",
    ] {
        let presence = decide(format!(r#"{{"number":{number},"state":"typing"}}"#)).unwrap();
        assert_eq!(
            presence.recipient().chat().as_str(),
            "5511999999999@s.whatsapp.net",
            "{number}"
        );
    }
    // Whole numbers that a float cannot tell from their neighbours are no longer written as they were.
    let body = |number: &str| format!(r#"{{"number":{number},"state":"typing"}}"#);
    assert_eq!(fault(body("9007199254740991.0")), BAD_NUMBER);
    assert_eq!(fault(body("9007199254740992.0")), BODY);
    assert_eq!(fault(body("1e400")), BODY);
}

#[test]
fn a_duration_is_any_number_of_seconds_rounded_up_and_cut_to_a_minute() {
    let huge = format!("1{}", "0".repeat(400));
    let rows = [
        ("0", 0),
        ("-0", 0),
        ("1", 1),
        ("60", 60),
        ("61", 60),
        ("86400", 60),
        ("9223372036854775808", 60),
        ("99999999999999999999", 60),
        ("170141183460469231731687303715884105728", 60),
        (&huge, 60),
        ("1e999", 60),
        ("1e99999999999999999999", 60),
        ("5.0", 5),
        ("5.000", 5),
        ("5e0", 5),
        ("50E-1", 5),
        ("0.5e1", 5),
        ("500000000000000000000e-20", 5),
        ("0.0e-99", 0),
        ("-1", 0),
        ("-1.0", 0),
        ("-99999999999999999999", 0),
        ("-1e999", 0),
        ("null", 0),
        ("2.35", 3),
        ("1.5", 2),
        ("0.1", 1),
        ("1e-1", 1),
        ("55e-1", 6),
        ("59.01", 60),
        ("60.5", 60),
        ("-0.5", 0),
        ("-1.5", 0),
        ("\"5\"", 5),
        ("\" 2.35 \"", 3),
        ("\"-3\"", 0),
        ("\"1e999\"", 60),
        ("\"\\u0037\"", 7),
        // The empty field of a form.
        ("\"\"", 0),
        ("\" \\t\\u00a0\"", 0),
    ];
    for (duration, expected) in rows {
        assert_eq!(seconds(duration), Some(expected), "{duration}");
    }
    let refused = ["true", "false", "[]", "[5]", "{}"];
    let no_numbers = [
        "\"abc\"",
        "\"5s\"",
        "\"inf\"",
        "\"NaN\"",
        "\"+5\"",
        "\".5\"",
        "\"5.\"",
        "\"05\"",
        "\"2,5\"",
        "\"null\"",
        "\"true\"",
        "\"[5]\"",
        "\"\\\"5\\\"\"",
        "\"5 5\"",
        "\"\\ud800\"",
    ];
    for duration in refused.into_iter().chain(no_numbers) {
        assert_eq!(seconds(duration), None, "{duration}");
    }
    let malformed = [
        "05", "+5", "5.", ".5", "0x5", "5s", "1e", "Infinity", "inf", "NaN", "",
    ];
    for duration in malformed {
        assert_eq!(
            fault(format!(
                r#"{{"number":"5511999999999","state":"typing","duration":{duration}}}"#
            )),
            BODY,
            "{duration}"
        );
    }
}

#[test]
fn a_fault_says_exactly_what_was_wrong() {
    let rows = [
        ("", "body: a JSON object is needed"),
        ("[]", "body: a JSON object is needed"),
        (
            "{\"number\":\n nonsense}",
            "body: malformed JSON at line 2, column 3",
        ),
        (r#"{"number":"1","number":"2"}"#, "body: a field is there twice"),
        (r#"{"number":[]}"#, "number: text or a whole number is needed"),
        (r#"{"number":"1","state":5}"#, "state: text is needed"),
        (
            r#"{"duration":"soon"}"#,
            "duration: a number of seconds is needed",
        ),
        (
            r#"{"number":1.5,"state":5,"duration":[]}"#,
            "number: text or a whole number is needed",
        ),
        (
            r#"{"state":"typing"}"#,
            "number: a phone number or a JID is needed",
        ),
        (
            r#"{"number":" ","state":"typing"}"#,
            "number: a phone number or a JID is needed",
        ),
        (
            r#"{"number":"55 11 maria","state":"typing"}"#,
            "number: the character at byte 6 does not belong in a phone number",
        ),
        (
            r#"{"number":"12"}"#,
            "number: a phone number has 5 to 15 digits, not 2",
        ),
        (
            r#"{"number":"1@newsletter"}"#,
            "number: the JID's server is not a person's or a group's",
        ),
        (
            r#"{"number":"5511999999999"}"#,
            "state: 'typing', 'recording', or 'pause' is needed",
        ),
        (
            r#"{"number":"5511999999999","state":"composing"}"#,
            "state: 'typing', 'recording', or 'pause' is needed",
        ),
    ];
    for (body, detail) in rows {
        assert_eq!(decide(body).unwrap_err().detail(), detail, "{body}");
    }
    assert_eq!(decide(b"{\xff}").unwrap_err().detail(), "body: UTF-8 is needed");
    // Inside other JSON, too.
    let fault = serde_json::from_str::<Vec<ChatPresenceRequest>>(r#"[{"state":[]}]"#).unwrap_err();
    assert!(fault.to_string().starts_with("state: text is needed"), "{fault}");
}

#[test]
fn a_pause_has_no_duration_but_its_duration_must_be_one() {
    for state in ["pause", "paused", " PAUSED "] {
        let body =
            |duration| format!(r#"{{"number":"5511999999999","state":"{state}","duration":{duration}}}"#);
        let presence = decide(body("30")).unwrap();
        assert_eq!((presence.state(), presence.hold()), (PresenceState::Pause, None));
        assert_eq!(presence.command(), Command::Pause);
        assert_eq!(fault(body("true")), BODY);
    }
}

#[test]
fn other_fields_are_ignored_however_odd_or_deep() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for other in [
        "1e999",
        "\"\\ud800\"",
        "{\"number\":5}",
        "[1.5,null]",
        &deep,
        &"9".repeat(100_000),
    ] {
        let body = format!(r#"{{"other":{other},"number":"5511999999999","state":"typing","other":1}}"#);
        assert!(decide(&body).is_ok(), "{:.40}", other);
    }
    // In a field that counts, they are of the wrong type, and no depth overflows the stack.
    for field in ["number", "state", "duration"] {
        assert_eq!(fault(format!(r#"{{"{field}":{deep}}}"#)), BODY);
        assert_eq!(fault(format!(r#"{{"{field}":{}"#, &deep[..100_000])), BODY);
    }
    assert_eq!(fault("{\"a\":".repeat(100_000)), BODY);
}

#[test]
fn values_of_any_size_are_answered() {
    let megabyte = "5".repeat(1 << 20);
    assert_eq!(
        fault(format!(r#"{{"number":"{megabyte}","state":"typing"}}"#)),
        BAD_NUMBER
    );
    assert_eq!(
        fault(format!(r#"{{"number":"5511999999999","state":"{megabyte}"}}"#)),
        BAD_STATE
    );
    assert_eq!(seconds(&megabyte), Some(60));
    assert_eq!(seconds(&format!("0.{megabyte}")), Some(1));
    assert_eq!(seconds(&format!("\"{megabyte}\"")), Some(60));
}

#[test]
fn tools_build_requests_and_read_them_inside_other_json() {
    let built = ChatPresenceRequest::new("+351 912 345 678", "typing", Hold::from_secs(5));
    let value = serde_json::json!({"number": "351912345678", "state": "typing", "duration": 5.0});
    let read: ChatPresenceRequest = serde_json::from_value(value).unwrap();
    assert_eq!(
        ChatPresence::try_from(built).unwrap(),
        ChatPresence::try_from(read).unwrap()
    );
}

#[test]
fn debug_hides_the_number() {
    let request = ChatPresenceRequest::new("5511999912345", "typing", None);
    assert_eq!(
        format!("{request:?}"),
        r#"ChatPresenceRequest { number: Some("…"), state: Some("typing"), duration: None, characters: None }"#
    );
    let presence = ChatPresence::try_from(request).unwrap();
    assert!(!format!("{presence:?}").contains("12345"));
}

#[test]
fn a_refused_number_has_its_cause() {
    let fault = decide(r#"{"number":"12","state":"typing"}"#).unwrap_err();
    let mut causes = std::iter::successors(std::error::Error::source(&fault), |cause| cause.source());
    assert_eq!(causes.next().unwrap().to_string(), "not a phone number");
    assert_eq!(
        causes.next().unwrap().to_string(),
        "a phone number has 5 to 15 digits, not 2"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in any::<Vec<u8>>()) {
        let _ = decide(body);
    }

    #[test]
    fn nearly_a_request_is_one_or_has_one_of_the_texts(
        number in r#"null|[0-9]{1,3}|"[-+0-9@a-z. ]{0,20}""#,
        state in r#"null|true|" ?(typing|PAUSED|x)?""#,
        duration in r"-?[0-9]{1,30}(\.[0-9]{1,3})?([eE][-+]?[0-9]{1,6})?",
        cut in 0_usize..200,
    ) {
        let mut body = format!(r#"{{"number":{number},"state":{state},"duration":{duration}}}"#);
        body.truncate(cut);
        match decide(&body) {
            Ok(presence) => prop_assert!(presence.hold().is_none_or(|hold| hold <= Hold::MAX)),
            Err(fault) => {
                let texts = [BODY, NO_NUMBER, BAD_NUMBER, NO_STATE, BAD_STATE];
                prop_assert!(texts.contains(&fault.to_string().as_str()));
                let detail = fault.detail();
                prop_assert!(detail.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", detail);
                prop_assert!(["body", "number", "state", "duration"].contains(&detail.split_once(": ").unwrap().0));
            }
        }
    }

    #[test]
    fn what_was_sent_is_in_no_fault(number in "[g-z]{6,12}|[2-9]{20,30}", state in "[j-z]{9,12}") {
        let bodies = [
            format!(r#"{{"number":"{number}","state":"{state}"}}"#),
            format!(r#"{{"number":"5511999999999","state":"{state}"}}"#),
            format!(r#"{{"number":"{number}@{state}","state":"typing"}}"#),
            format!(r#"{{"number":"5511999999999","state":"typing","duration":"{number}x"}}"#),
            format!(r#"{{"number":{number},"state":{state}}}"#),
        ];
        for body in bodies {
            let fault = decide(&body).unwrap_err();
            for text in [fault.to_string(), fault.detail().to_owned()] {
                prop_assert!(!text.contains(&number) && !text.contains(&state), "{}: {}", body, text);
            }
        }
    }

    #[test]
    fn a_request_reads_as_it_was_written(
        number in "5511999[0-9]{6}|[1-9][0-9]{5,12}@lid|[1-9][0-9]{12}@g\\.us|5511999[0-9]{6}@c\\.us",
        state in prop_oneof![
            Just(PresenceState::Typing), Just(PresenceState::Recording), Just(PresenceState::Pause)
        ],
        secs in 0_u64..100,
    ) {
        let recipient = number.parse().unwrap();
        let hold = Hold::from_secs(secs);
        let presence = match state {
            PresenceState::Typing => ChatPresence::typing(recipient, hold),
            PresenceState::Recording => ChatPresence::recording(recipient, hold),
            PresenceState::Pause => ChatPresence::pause(recipient),
        };
        prop_assert_eq!(presence.state(), state);
        prop_assert_eq!(presence.hold(), hold.filter(|_| state != PresenceState::Pause));
        let request = ChatPresenceRequest::from(&presence);
        let body = serde_json::to_string(&request).unwrap();
        let read = ChatPresenceRequest::from_json(body.as_bytes()).unwrap();
        prop_assert_eq!(&read, &request);
        prop_assert_eq!(&serde_json::from_str::<ChatPresenceRequest>(&body).unwrap(), &request);
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), body);
        prop_assert_eq!(ChatPresence::try_from(read), Ok(presence));
    }

    #[test]
    fn whole_seconds_clamp_as_integers_do(secs in any::<i128>()) {
        let clamped = u8::try_from(secs.clamp(0, 60)).unwrap();
        prop_assert_eq!(seconds(&secs.to_string()), Some(clamped));
        prop_assert_eq!(seconds(&format!("{secs}.0")), Some(clamped));
        prop_assert_eq!(seconds(&format!("\"{secs}\"")), Some(clamped));
    }

    #[test]
    fn fractions_of_a_second_are_rounded_up(millis in 0_u32..70_000) {
        let duration = format!("{}.{:03}", millis / 1000, millis % 1000);
        let expected = u8::try_from(millis.div_ceil(1000).min(60)).unwrap();
        prop_assert_eq!(seconds(&duration), Some(expected));
    }
}
