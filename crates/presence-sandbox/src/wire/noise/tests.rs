//! The handshakes, against the client's own half of them.

use whatsapp_rust::wacore::handshake::{
    IkHandshakeState, IkServerHelloOutcome, XxFallbackHandshakeState, XxHandshakeState,
};

use super::*;

fn device() -> KeyPair {
    KeyPair::generate(&mut rng())
}

fn payload() -> Vec<u8> {
    wa::ClientPayload {
        username: Some(5_511_988_887_777),
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn a_client_that_knows_the_key_is_in_after_one_message() {
    let (server, device) = (ServerIdentity::new(&[7; 32]), device());
    let mut client =
        IkHandshakeState::new(device.clone(), server.public_key(), payload(), &WA_CONN_HEADER).unwrap();
    let hello = client.build_client_hello().unwrap();
    let Answered::Done { reply, established } = answer(&server, &hello).unwrap() else {
        panic!("not IK")
    };
    let IkServerHelloOutcome::Continue(outcome) = client.read_server_hello(&reply).unwrap() else {
        panic!("refused")
    };
    assert_eq!(established.client_key, raw(&device));
    assert_eq!(established.payload.username, Some(5_511_988_887_777));
    let sealed = outcome.write_cipher.encrypt_with_counter(0, b"hello").unwrap();
    let mut opened = sealed.clone();
    established
        .incoming
        .decrypt_in_place_with_counter(0, &mut opened)
        .unwrap();
    assert_eq!(opened, b"hello");
}

// The client checks the certificates against the real root, so it must refuse ours, and say so.
#[test]
fn a_client_that_knows_another_key_is_shown_ours_and_refuses_it() {
    let (server, stranger) = (ServerIdentity::new(&[7; 32]), ServerIdentity::new(&[8; 32]));
    let mut client =
        IkHandshakeState::new(device(), stranger.public_key(), payload(), &WA_CONN_HEADER).unwrap();
    let hello = client.build_client_hello().unwrap();
    let Answered::Pending { reply, .. } = answer(&server, &hello).unwrap() else {
        panic!("not a fallback")
    };
    let IkServerHelloOutcome::Fallback(inputs) = client.read_server_hello(&reply).unwrap() else {
        panic!("not a fallback")
    };
    let mut client = XxFallbackHandshakeState::from_ik_failure(*inputs, &WA_CONN_HEADER).unwrap();
    let refusal = client.build_client_finish().unwrap_err();
    assert!(refusal.to_string().contains("signature"), "{refusal}");
}

#[test]
fn a_client_that_knows_no_key_gets_as_far_as_our_certificates() {
    let server = ServerIdentity::new(&[7; 32]);
    let mut client = XxHandshakeState::new(device(), payload(), &WA_CONN_HEADER).unwrap();
    let hello = client.build_client_hello().unwrap();
    let Answered::Pending { reply, .. } = answer(&server, &hello).unwrap() else {
        panic!("not XX")
    };
    let refusal = client
        .read_server_hello_and_build_client_finish(&reply)
        .unwrap_err();
    assert!(refusal.to_string().contains("signature"), "{refusal}");
}

// No client that checks certificates finishes XX with us, so the client's half is written out here.
#[test]
fn xx_and_its_fallback_establish_a_channel() {
    for pattern in [NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK] {
        let (server, device, ephemeral) = (ServerIdentity::new(&[7; 32]), device(), device());
        let Answered::Pending { reply, pending } = offer(&server, pattern, &raw(&ephemeral)).unwrap() else {
            panic!("not pending")
        };
        let hello = decode(&reply).unwrap().server_hello.into_option().unwrap();
        let theirs = key_of(hello.ephemeral.as_deref()).unwrap();
        let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER).unwrap();
        noise.authenticate(&raw(&ephemeral));
        noise.authenticate(&theirs);
        noise
            .mix_shared_secret(ephemeral.private_key.serialize(), &theirs)
            .unwrap();
        let key = decrypt_key(&mut noise, hello.r#static.as_deref()).unwrap();
        assert_eq!(key, server.public_key());
        noise
            .mix_shared_secret(ephemeral.private_key.serialize(), &key)
            .unwrap();
        noise.decrypt(hello.payload.as_deref().unwrap()).unwrap();
        let own = noise.encrypt(&raw(&device)).unwrap();
        noise
            .mix_shared_secret(device.private_key.serialize(), &theirs)
            .unwrap();
        let sealed = noise.encrypt(&payload()).unwrap();
        let finish = ClientFinish {
            r#static: Some(own),
            payload: Some(sealed),
            ..Default::default()
        };
        let message = wa::HandshakeMessage {
            client_finish: MessageField::some(finish),
            ..Default::default()
        };
        let established = pending.finish(&message.encode_to_vec()).unwrap();
        assert_eq!(established.client_key, raw(&device));
    }
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let server = ServerIdentity::new(&[7; 32]);
    for message in [&b""[..], b"\x12", &[0xff; 200], &[0; 65]] {
        assert!(answer(&server, message).is_err());
    }
}
