//! What is refused, and that the journal says why.

use super::*;

/// The device's own signed pre-key, signed by `signer`.
fn signed(id: u32, signer: &KeyPair) -> SignedKey {
    let value = identity().public_key;
    let signature = signer
        .calculate_signature(&value.serialize(), &mut rand::make_rng::<StdRng>())
        .unwrap();
    SignedKey {
        id,
        value: value.public_key_bytes().try_into().unwrap(),
        signature,
    }
}

fn upload(one_time: &[u32]) -> Upload {
    Upload {
        registration: 77,
        identity: companion().identity,
        signed: signed(1, &identity()),
        one_time: one_time.iter().map(|id| (*id, [*id as u8; 32])).collect(),
    }
}

fn ask(world: &mut World, connection: ConnectionId, asked: Asked) -> Reply {
    let request = Request::Ask {
        id: "1".to_owned(),
        asked,
    };
    let mut reaction = world.receive(SECOND, connection, text("<iq/>"), request);
    assert_eq!(reaction.replies.len(), 1);
    reaction.replies.remove(0).1
}

fn done() -> Reply {
    Reply::Done { id: "1".to_owned() }
}

fn refusals(world: &World) -> Vec<Refused> {
    world.refused().filter_map(|entry| entry.refused).collect()
}

#[test]
fn nothing_is_shown_for_a_device_that_is_passive() {
    let mut world = world();
    let device = link(&mut world, 1);
    let claim = Claim {
        noise_key: key(1),
        device: Some(device),
        passive: true,
    };
    let Admission::Welcome { connection, .. } = world.login(SECOND, claim) else {
        panic!("not let in")
    };
    let to = Address::Number(number(2));
    let shows = || chat_state(to, Some(State::Typing));
    world.receive(SECOND, connection, text("<chatstate/>"), shows());
    assert_eq!(refusals(&world), [Refused::Passive]);
    assert_eq!(world.shown(number(2)).now.len(), 0);
    ask(&mut world, connection, Asked::Passive { active: false });
    let active = Request::Ask {
        id: "1".to_owned(),
        asked: Asked::Passive { active: true },
    };
    world.receive(SECOND, connection, text("<iq/>"), active);
    world.receive(SECOND, connection, text("<chatstate/>"), shows());
    assert_eq!(world.shown(number(2)).now.len(), 1);
}

#[test]
fn a_device_that_did_not_sign_is_not_linked() {
    let mut world = world();
    let Admission::Pair {
        connection,
        references,
        ..
    } = knock(&mut world, SECOND, 1, None)
    else {
        panic!()
    };
    let offer = world
        .scan(SECOND, number(1), &references[0], &key(1), companion())
        .unwrap();
    let Request::PairSigned { device_identity } = confirmation() else {
        panic!()
    };
    let forged = [
        &device_identity[..device_identity.len() - 1],
        &[!device_identity[device_identity.len() - 1]],
    ]
    .concat();
    let forged = Request::PairSigned {
        device_identity: forged,
    };
    world.receive(SECOND, connection, text("<iq/>"), forged);
    assert_eq!(refusals(&world), [Refused::WrongSignature]);
    assert!(matches!(
        world.progress(&offer),
        Progress::Failed(PairError::Refused(_))
    ));
    assert_eq!(world.linked_devices(number(1)), 0);
}

#[test]
fn each_login_that_is_refused_or_replaces_another_is_journalled() {
    let mut world = world();
    let device = link(&mut world, 1);
    log_in(&mut world, 1, device);
    log_in(&mut world, 1, device);
    knock(&mut world, SECOND, 2, Some(device));
    assert_eq!(refusals(&world), [Refused::Replaced, Refused::NotLinked]);
    let entry = world.refused().next().unwrap();
    let jid = format!("{}:{}@s.whatsapp.net", device.number, device.id);
    assert_eq!(entry.stanza, format!("<login jid=\"{jid}\"/>"));
}

#[test]
fn only_keys_that_the_device_signed_are_taken() {
    let mut world = world();
    let connection = online(&mut world, 1);
    let stranger = KeyPair::generate(&mut rand::make_rng::<StdRng>());
    let cases = [
        (
            Upload {
                signed: signed(1, &stranger),
                ..upload(&[1])
            },
            Refused::WrongSignature,
        ),
        (
            Upload {
                identity: stranger.public_key.public_key_bytes().try_into().unwrap(),
                ..upload(&[1])
            },
            Refused::WrongIdentity,
        ),
    ];
    for (upload, why) in cases {
        let answer = ask(&mut world, connection, Asked::PreKeys(Some(upload)));
        assert_eq!(answer, Reply::error("1".to_owned(), 406, "not-acceptable"));
        assert_eq!(refusals(&world).last(), Some(&why));
    }
    assert_eq!(
        ask(&mut world, connection, Asked::Digest),
        Reply::error("1".to_owned(), 404, "item-not-found")
    );
    assert_eq!(
        ask(&mut world, connection, Asked::PreKeys(Some(upload(&[1])))),
        done()
    );
    let rotation = |signer| Asked::Rotate(Some(signed(2, signer)));
    assert_ne!(ask(&mut world, connection, rotation(&stranger)), done());
    assert_eq!(ask(&mut world, connection, rotation(&identity())), done());
}

#[test]
fn each_pre_key_is_given_out_once_and_not_taken_again() {
    let mut world = world();
    let connection = online(&mut world, 1);
    assert_eq!(
        ask(&mut world, connection, Asked::PreKeys(Some(upload(&[1, 2])))),
        done()
    );
    let jid = DeviceJid {
        user: User::Number(number(1)),
        id: 1,
    };
    let mut given = Vec::new();
    for left in [1, 0, 0] {
        let KeysOf::Device { bundle, .. } = world.keys_of(jid) else {
            panic!("the device has keys")
        };
        given.push(bundle.one_time.map(|(id, _)| id));
        let count = ask(&mut world, connection, Asked::PreKeyCount);
        assert_eq!(
            count,
            Reply::PreKeyCount {
                id: "1".to_owned(),
                left
            }
        );
    }
    assert_eq!(given, [Some(1), Some(2), None], "without one left there is none");
    ask(&mut world, connection, Asked::PreKeys(Some(upload(&[3, 1]))));
    assert_eq!(refusals(&world), [Refused::PreKeyUsed]);
    assert_eq!(
        ask(&mut world, connection, Asked::PreKeys(Some(upload(&[3, 4])))),
        done()
    );
    let Reply::Digest { digest, .. } = ask(&mut world, connection, Asked::Digest) else {
        panic!("there is a digest")
    };
    assert_eq!(
        (digest.registration, digest.ids, digest.hash.len()),
        (77, vec![3, 4], 20)
    );
}

#[test]
fn a_devices_queue_is_bounded_and_kept_until_it_says_so() {
    let mut world = world();
    let device = link(&mut world, 1);
    let message = |nth: u64| Message {
        id: nth.to_string(),
        kind: "text".to_owned(),
        from: DeviceJid {
            user: User::Number(number(2)),
            id: 0,
        },
        group: None,
        recipient: None,
        recipient_alias: None,
        alias: None,
        category: None,
        sealed: Vec::new(),
        device_identity: None,
        at: SECOND,
        offline: false,
    };
    for nth in 0..1001 {
        world.deliver_message(device, message(nth));
    }
    for expected in [1000, 999] {
        let connection = log_in(&mut world, 1, device);
        let active = Request::Ask {
            id: "1".to_owned(),
            asked: Asked::Passive { active: true },
        };
        let reaction = world.receive(SECOND, connection, text("<iq/>"), active);
        let waited = reaction
            .replies
            .iter()
            .filter(|(_, reply)| matches!(reply, Reply::Waited(_)));
        assert_eq!(waited.count(), expected, "the oldest of too many is lost");
        let taken = Request::Taken { id: "1".to_owned() };
        world.receive(SECOND, connection, text("<ack/>"), taken);
    }
}
