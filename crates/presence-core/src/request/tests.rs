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
        Ok(presence) => Some(presence.hold.map_or(0, Hold::as_secs)),
        Err(fault) => {
            assert_eq!(fault, InvalidRequest::Body, "{duration}");
            None
        }
    }
}

#[test]
fn a_request_says_who_what_and_for_how_long() {
    let presence = decide(r#"{"number":"+55 (11) 99999-9999","state":"Recording","duration":7}"#).unwrap();
    assert_eq!(presence.recipient.chat().as_str(), "5511999999999@s.whatsapp.net");
    assert_eq!(presence.state, PresenceState::Recording);
    assert_eq!(presence.hold, Hold::from_secs(7));

    let presence = decide(r#"{"number":"120363025246125486@g.us","state":"typing"}"#).unwrap();
    assert_eq!(presence.recipient.chat().as_str(), "120363025246125486@g.us");
    assert_eq!(presence.hold, None);
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
        (r#"{"number":5511999999999,"state":"typing"}"#, BODY),
        (r#"{"number":["5511999999999"],"state":"typing"}"#, BODY),
        (r#"{"number":"5511999999999","state":true}"#, BODY),
        (r#"{"number":"5511999999999","state":{}}"#, BODY),
        (r#"{"state":"nonsense","duration":1.5}"#, BODY),
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
fn a_duration_is_any_whole_number_cut_to_a_minute() {
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
    ];
    for (duration, expected) in rows {
        assert_eq!(seconds(duration), Some(expected), "{duration}");
    }
    let refused = [
        "1.5", "0.1", "-0.5", "60.5", "1e-1", "55e-1", "true", "\"5\"", "\"\"", "[]", "[5]", "{}", "NaN",
    ];
    // Fractions that a float rounds away.
    let fine = [
        "1.0000000000000001",
        "4.99999999999999999999",
        "123456789012345678901234567890.5",
        "1e-400",
        "1e-99999999999999999999",
    ];
    let malformed = ["05", "+5", "5.", ".5", "0x5", "5s", "1e", "Infinity", "inf", ""];
    for duration in refused.into_iter().chain(fine).chain(malformed) {
        assert_eq!(seconds(duration), None, "{duration}");
    }
}

#[test]
fn a_pause_has_no_duration_but_its_duration_must_be_one() {
    for state in ["pause", "paused", " PAUSED "] {
        let body =
            |duration| format!(r#"{{"number":"5511999999999","state":"{state}","duration":{duration}}}"#);
        let presence = decide(body("30")).unwrap();
        assert_eq!((presence.state, presence.hold), (PresenceState::Pause, None));
        assert_eq!(presence.command(), Command::Pause);
        assert_eq!(fault(body("1.5")), BODY);
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
    assert_eq!(seconds(&format!("0.{megabyte}")), None);
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
    assert!(!format!("{request:?}").contains("12345"));
    let presence = ChatPresence::try_from(request).unwrap();
    assert!(!format!("{presence:?}").contains("12345"));
}

#[test]
fn a_refused_number_says_why_to_the_log_alone() {
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
            Ok(presence) => prop_assert!(presence.hold.is_none_or(|hold| hold <= Hold::MAX)),
            Err(fault) => {
                let texts = [BODY, NO_NUMBER, BAD_NUMBER, NO_STATE, BAD_STATE];
                prop_assert!(texts.contains(&fault.to_string().as_str()));
            }
        }
    }

    #[test]
    fn whole_seconds_clamp_as_integers_do(secs in any::<i128>()) {
        let clamped = u8::try_from(secs.clamp(0, 60)).unwrap();
        prop_assert_eq!(seconds(&secs.to_string()), Some(clamped));
        prop_assert_eq!(seconds(&format!("{secs}.0")), Some(clamped));
    }
}
