//! The world as a whole, without a client: logins, pairings, chat states and faults as calls.

mod strict;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use rand::rngs::StdRng;
use whatsapp_rust::buffa::Message as _;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey};
use whatsapp_rust::waproto::whatsapp::ADVSignedDeviceIdentity;

use super::request::Reaction;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn number(nth: u64) -> Number {
    Number::from_digits(5_511_900_000_000 + nth).unwrap()
}

fn key(nth: u64) -> [u8; 32] {
    std::array::from_fn(|at| nth.to_be_bytes()[at % 8])
}

fn world() -> World {
    World::new(Settings::default())
}

/// A device that says it is `device`, or nobody the world knows, logs in.
fn knock(world: &mut World, now: Duration, nth: u64, device: Option<Device>) -> Admission {
    let placeholder = Device {
        number: number(999_999),
        id: 1,
    };
    let device = Some(device.unwrap_or(placeholder));
    world.login(
        now,
        Claim {
            noise_key: key(nth),
            device,
            passive: false,
        },
    )
}

/// The identity of every device here.
fn identity() -> KeyPair {
    let private = PrivateKey::deserialize(&[7; 32]).unwrap();
    KeyPair::new(private.public_key().unwrap(), private)
}

fn companion() -> Companion {
    Companion {
        identity: identity().public_key.public_key_bytes().try_into().unwrap(),
        account: [9; 32],
    }
}

/// What a device says when it was linked, signed as it must be.
fn confirmation() -> Request {
    let details = b"details".to_vec();
    let Companion {
        identity: own,
        account,
    } = companion();
    let signed = [&[6, 1][..], &details, &own, &account].concat();
    let signature = identity()
        .calculate_signature(&signed, &mut rand::make_rng::<StdRng>())
        .unwrap();
    let device_identity = ADVSignedDeviceIdentity {
        details: Some(details),
        device_signature: Some(signature.to_vec()),
        ..Default::default()
    };
    Request::PairSigned {
        device_identity: device_identity.encode_to_vec(),
    }
}

/// Links the device with the `nth` key to the `nth` number.
fn link(world: &mut World, nth: u64) -> Device {
    let Admission::Pair {
        connection,
        references,
        ..
    } = knock(world, Duration::ZERO, nth, None)
    else {
        panic!("not offered to be linked")
    };
    let offer = world
        .scan(
            Duration::ZERO,
            number(nth),
            &references[0],
            &key(nth),
            companion(),
        )
        .unwrap();
    assert_eq!(world.progress(&offer), Progress::Waiting);
    let reaction = world.receive(Duration::ZERO, connection, Text::default(), confirmation());
    assert_eq!(reaction, Reaction::default());
    assert_eq!(world.progress(&offer), Progress::Linked);
    world.hung_up(SECOND, connection);
    while world.poll_timeout().is_some() {
        world.handle_timeout(SECOND);
        effects(world);
    }
    offer.device
}

fn log_in(world: &mut World, nth: u64, device: Device) -> ConnectionId {
    match knock(world, Duration::ZERO, nth, Some(device)) {
        Admission::Welcome { connection, .. } => connection,
        other => panic!("{other:?}"),
    }
}

fn online(world: &mut World, nth: u64) -> ConnectionId {
    let device = link(world, nth);
    log_in(world, nth, device)
}

fn effects(world: &mut World) -> Vec<Effect> {
    std::iter::from_fn(|| world.poll_effect()).collect()
}

fn ping(world: &mut World, connection: ConnectionId) -> Reaction {
    let asked = Request::Ask {
        id: "1".to_owned(),
        asked: Asked::Ping,
    };
    world.receive(Duration::ZERO, connection, Text::default(), asked)
}

fn text(xml: &str) -> Text {
    Text {
        xml: xml.to_owned(),
        jids: Vec::new(),
    }
}

fn chat_state(to: Address, state: Option<State>) -> Request {
    Request::ChatState {
        id: None,
        to,
        jid: None,
        state,
    }
}

fn pong() -> Reaction {
    let reply = Reply::Done { id: "1".to_owned() };
    Reaction {
        replies: vec![(Duration::ZERO, reply)],
        ..Reaction::default()
    }
}

fn refused(admission: Admission) -> Farewell {
    match admission {
        Admission::Refused(farewell) => farewell,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_code_is_good_until_the_device_shows_the_next() {
    let mut world = world();
    let Admission::Pair { references, .. } = knock(&mut world, Duration::ZERO, 1, None) else {
        panic!()
    };
    for (nth, reference) in references.iter().enumerate() {
        let end = SECOND * (60 + 20 * nth as u32);
        let mut scan = |now| {
            world
                .scan(now, number(1), reference, &key(1), companion())
                .map(|_| ())
        };
        assert_eq!(scan(end), Err(PairError::ExpiredQrCode), "code {nth}");
        if nth == 5 {
            assert_eq!(scan(end - SECOND), Ok(()));
        }
    }
    let stolen = world.scan(Duration::ZERO, number(1), &references[5], &key(2), companion());
    assert_eq!(stolen.unwrap_err(), PairError::UnknownQrCode);
}

#[test]
fn what_is_said_is_journalled_for_those_who_are_here() {
    let mut world = world();
    let connection = online(&mut world, 1);
    let before = world.journal(0, 0).latest;
    world.receive(SECOND, connection, text("<a/>"), Request::Other);
    world.hung_up(SECOND, connection);
    world.receive(SECOND, connection, text("<b/>"), Request::Other);
    let page = world.journal(before, 10);
    assert_eq!(page.entries.len(), 1);
    assert_eq!(
        (page.entries[0].from, page.entries[0].at),
        (Some(number(1)), SECOND)
    );
}

#[test]
fn a_replaced_connection_counts_for_nobody() {
    let mut world = world();
    let device = link(&mut world, 1);
    let older = log_in(&mut world, 1, device);
    let newer = log_in(&mut world, 1, device);
    assert_eq!(
        effects(&mut world),
        [Effect::Dismiss(older, Farewell::Conflict("replaced"))]
    );
    assert_eq!(ping(&mut world, older), Reaction::default());
    assert_eq!(ping(&mut world, newer), pong());
    assert_eq!(world.connections(number(1)), 1);
}

#[test]
fn faults_strike_whom_they_concern_when_they_should() {
    let mut world = world();
    let (ann, bob) = (online(&mut world, 1), online(&mut world, 2));
    let error = Farewell::StreamError {
        code: 503,
        hang_up: true,
    };

    let now = Fault::stream_error(503).on(number(1));
    assert_eq!(world.add_fault(SECOND, now), Ok((None, 1)));
    assert_eq!(effects(&mut world), [Effect::Dismiss(ann, error.clone())]);
    assert_eq!(world.faults().count(), 0);

    let third = Fault::stream_error(503)
        .on(number(2))
        .when(When::AfterStanzas(3))
        .times(1);
    world.add_fault(SECOND, third).unwrap();
    let strikes: Vec<_> = (0..5).map(|_| ping(&mut world, bob).farewell).collect();
    assert_eq!(strikes, [None, None, Some(error), None, None]);
    assert_eq!(world.faults().count(), 0);

    world
        .add_fault(SECOND, Fault::withhold(Answer::Ping).times(2))
        .unwrap();
    assert_eq!(ping(&mut world, ann).replies, []);
    assert_eq!(ping(&mut world, bob).replies, []);
    assert_eq!(ping(&mut world, bob), pong());
    let late = Fault::delay(Answer::Ping, SECOND).on(number(2));
    world.add_fault(SECOND, late).unwrap();
    assert_eq!(ping(&mut world, ann), pong());
    assert_eq!(ping(&mut world, bob).replies[0].0, SECOND);
}

#[test]
fn a_fault_at_login_is_in_place_of_the_welcome() {
    let mut world = world();
    let device = link(&mut world, 1);
    let fault = Fault::failure(503).when(When::Login).on(number(1)).times(2);
    world.add_fault(SECOND, fault).unwrap();
    for _ in 0..2 {
        let farewell = refused(knock(&mut world, SECOND, 1, Some(device)));
        assert_eq!(farewell, Farewell::failure(503));
    }
    log_in(&mut world, 1, device);
}

#[test]
fn a_ban_tells_what_is_left_of_it_and_ends_by_itself() {
    let mut world = world();
    let device = link(&mut world, 1);
    let connection = log_in(&mut world, 1, device);
    let banned = |secs| Farewell::Failure {
        reason: Some(402),
        code: Some(101),
        expire_secs: Some(secs),
        message: None,
    };
    let added = world.add_fault(SECOND, Fault::ban(60 * SECOND).on(number(1)));
    assert_eq!(added, Ok((Some(FaultId::new(1)), 1)));
    assert_eq!(effects(&mut world), [Effect::Dismiss(connection, banned(60))]);
    world.hung_up(SECOND, connection);
    let at = Duration::from_millis(31_500);
    assert_eq!(refused(knock(&mut world, at, 1, Some(device))), banned(30));
    assert_eq!(world.poll_timeout(), Some(61 * SECOND));
    world.handle_timeout(61 * SECOND);
    log_in(&mut world, 1, device);
}

#[test]
fn what_is_stalled_goes_on_when_the_fault_is_cleared() {
    let mut world = world();
    let connection = online(&mut world, 1);
    let (id, _) = world
        .add_fault(SECOND, Fault::stall().when(When::AfterStanzas(1)))
        .unwrap();
    ping(&mut world, connection);
    assert_eq!(effects(&mut world), [Effect::Stall(connection)]);
    assert!(world.clear_fault(id.unwrap()));
    assert_eq!(effects(&mut world), [Effect::Resume(connection)]);
    assert!(!world.clear_fault(id.unwrap()));
    assert_eq!(world.clear_faults(), 0);
    assert_eq!(effects(&mut world), []);
}

#[test]
fn refusals_of_everyone_and_of_one_differ_in_when_they_strike() {
    let mut world = world();
    let device = link(&mut world, 1);
    world.add_fault(SECOND, Fault::refuse().times(1)).unwrap();
    assert!(world.refuses_connections());
    assert!(!world.refuses_connections());
    world.add_fault(SECOND, Fault::refuse().on(number(1))).unwrap();
    assert!(!world.refuses_connections());
    assert_eq!(refused(knock(&mut world, SECOND, 1, Some(device))), Farewell::Cut);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let mut world = world();
    let cases = [
        (Fault::refuse().when(When::Login), InvalidFault::NotTimed),
        (Fault::stall().times(0), InvalidFault::Zero),
        (Fault::stall().when(When::AfterStanzas(0)), InvalidFault::Zero),
        (
            Fault::new(FaultKind::Withhold { answers: vec![] }),
            InvalidFault::NoAnswers,
        ),
        (Fault::ban(Duration::MAX), InvalidFault::TooLong),
    ];
    for (fault, expected) in cases {
        assert_eq!(world.add_fault(SECOND, fault), Err(expected));
    }
    while world.add_fault(SECOND, Fault::refuse()).is_ok() {}
    assert_eq!(
        world.add_fault(SECOND, Fault::refuse()),
        Err(InvalidFault::TooMany)
    );
}

/// One step of a random life: some time passes, then somebody does something in some chat.
#[derive(Clone, Debug)]
struct Step {
    after_ms: u64,
    from: u64,
    to: u64,
    state: Option<State>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = prop_oneof![
        Just(Some(State::Typing)),
        Just(Some(State::Recording)),
        Just(None)
    ];
    let step = (0..7_000_u64, 1..4_u64, 4..6_u64, state);
    let step = step.prop_map(|(after_ms, from, to, state)| Step {
        after_ms,
        from,
        to,
        state,
    });
    prop::collection::vec(step, 0..60)
}

/// What each phone should have shown: told again from the beginning for each pair of sender and phone.
fn expected(steps: &[Step], end: Duration) -> BTreeMap<u64, Vec<Spell>> {
    let expire = Settings::default().expire_after;
    let mut all: BTreeMap<u64, Vec<Spell>> = BTreeMap::new();
    for (from, to) in (1..4).flat_map(|from| (4..6).map(move |to| (from, to))) {
        let mut now = Duration::ZERO;
        let mut open: Option<(Spell, Duration)> = None;
        let spells = all.entry(to).or_default();
        let mut close = |open: &mut Option<(Spell, Duration)>, at: Duration, why| {
            if let Some((spell, expires)) = open.take() {
                let (at, why) = if expires <= at {
                    (expires, Why::Expired)
                } else {
                    (at, why)
                };
                spells.push(Spell {
                    hidden_at: Some(at),
                    why: Some(why),
                    ..spell
                });
            }
        };
        for step in steps {
            now += Duration::from_millis(step.after_ms);
            if (step.from, step.to) != (from, to) {
                continue;
            }
            let fresh = |state| Spell {
                from: number(from),
                state,
                shown_at: now,
                hidden_at: None,
                why: None,
            };
            match (step.state, &mut open) {
                (Some(state), Some((spell, expires))) if spell.state == state && *expires > now => {
                    *expires = now + expire;
                }
                (Some(state), _) => {
                    close(&mut open, now, Why::Replaced);
                    open = Some((fresh(state), now + expire));
                }
                (None, _) => close(&mut open, now, Why::Paused),
            }
        }
        if open.as_ref().is_some_and(|(_, expires)| *expires <= end) {
            close(&mut open, end, Why::Expired);
        }
        spells.extend(open.map(|(spell, _)| spell));
    }
    all
}

/// Spells in an order of their own, since those that appeared at one instant have none.
fn sorted(mut spells: Vec<Spell>) -> Vec<String> {
    spells.sort_by_key(|spell| (spell.from, spell.shown_at, spell.hidden_at));
    spells.iter().map(|spell| format!("{spell:?}")).collect()
}

proptest! {
    #[test]
    fn every_phone_shows_what_was_sent_to_it(steps in steps(), rest_ms in 0..15_000_u64) {
        let mut world = world();
        let senders: BTreeMap<u64, ConnectionId> = (1..4).map(|nth| (nth, online(&mut world, nth))).collect();
        let mut now = Duration::ZERO;
        for step in &steps {
            now += Duration::from_millis(step.after_ms);
            let to = Address::Number(number(step.to));
            world.handle_timeout(now);
            world.receive(now, senders[&step.from], Text::default(), chat_state(to, step.state));
            prop_assert!(world.poll_timeout().is_none_or(|due| due > now));
        }
        let end = now + Duration::from_millis(rest_ms);
        world.handle_timeout(end);
        world.handle_timeout(end);

        let expected = expected(&steps, end);
        let mut showing = 0;
        for to in 4..6 {
            let shown = world.shown(number(to));
            showing += shown.now.len();
            let open = shown.timeline.iter().filter(|spell| spell.hidden_at.is_none()).count();
            prop_assert_eq!(open, shown.now.len());
            prop_assert!(shown.timeline.is_sorted_by_key(|spell| spell.shown_at));
            prop_assert_eq!(sorted(shown.timeline), sorted(expected[&to].clone()));
        }
        prop_assert_eq!(world.poll_timeout().is_some(), showing > 0);
    }
}
