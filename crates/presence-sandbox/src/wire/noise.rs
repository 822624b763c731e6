//! The answering side of WhatsApp's Noise handshakes: IK for a client that knows the server's key, XX for
//! one that does not, and XXfallback for one whose key is out of date.

use rand::rngs::StdRng;
use wa::cert_chain::{NoiseCertificate, noise_certificate::Details};
use wa::handshake_message::{ClientFinish, ClientHello, ServerHello};
use whatsapp_rust::buffa::{Message, MessageField};
use whatsapp_rust::wacore::handshake::{HandshakeError, NoiseCipher, NoiseHandshake};
use whatsapp_rust::wacore::libsignal::crypto::hmac_sha256;
use whatsapp_rust::wacore::libsignal::protocol::{KeyPair, PrivateKey};
use whatsapp_rust::wacore_binary::consts::{
    NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER,
};
use whatsapp_rust::waproto::whatsapp as wa;

use super::WireError;

/// The server's static key and the certificates that vouch for it.
///
/// They are signed by a root of our own, so a client believes them only when it was given that root in place of
/// WhatsApp's, or the server's key itself before, which is what its Noise IK handshake is for.
pub(crate) struct ServerIdentity {
    key: KeyPair,
    root: [u8; 32],
    certificates: Vec<u8>,
}

/// Valid from 2023 to 2100: the sandbox has no business with certificates that expire.
const VALIDITY: (u64, u64) = (1_700_000_000, 4_102_444_800);

impl ServerIdentity {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let key = key_pair(secret);
        let root = key_pair(&hmac_sha256(secret, b"root certificate"));
        let intermediate = key_pair(&hmac_sha256(secret, b"intermediate certificate"));
        let chain = wa::CertChain {
            intermediate: MessageField::some(certificate(&root, 1, 0, &intermediate)),
            leaf: MessageField::some(certificate(&intermediate, 2, 1, &key)),
        };
        Self {
            key,
            root: raw(&root),
            certificates: chain.encode_to_vec(),
        }
    }

    /// The 32 bytes with which a client can check the certificates.
    pub(crate) fn root_key(&self) -> [u8; 32] {
        self.root
    }

    /// The 32 bytes a client must know to use the IK handshake.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        raw(&self.key)
    }
}

/// What a finished handshake leaves.
pub(super) struct Established {
    pub(super) incoming: NoiseCipher,
    pub(super) outgoing: NoiseCipher,
    /// The client's static key: what a linked device is recognised by.
    pub(super) client_key: [u8; 32],
    pub(super) payload: wa::ClientPayload,
}

/// What the client's first message leads to.
pub(super) enum Answered {
    /// IK: done, once `reply` is sent.
    Done {
        reply: Vec<u8>,
        established: Box<Established>,
    },
    /// XX or XXfallback: send `reply`, then [`Pending::finish`] with the client's second message.
    Pending { reply: Vec<u8>, pending: Box<Pending> },
}

/// Answers the client's first message.
pub(super) fn answer(server: &ServerIdentity, message: &[u8]) -> Result<Answered, WireError> {
    let hello = decode(message)?
        .client_hello
        .into_option()
        .ok_or(WireError::Handshake)?;
    let ephemeral = key_of(hello.ephemeral.as_deref())?;
    if hello.r#static.is_none() {
        return offer(server, NOISE_PATTERN_XX, &ephemeral);
    }
    match accept(server, &hello, &ephemeral) {
        Ok(answered) => Ok(answered),
        // The client knows another key than ours. The real server then shows its own, as here.
        Err(WireError::Noise(_)) => offer(server, NOISE_PATTERN_XXFALLBACK, &ephemeral),
        Err(other) => Err(other),
    }
}

/// IK: `<- s`, `-> e, es, s, ss`, `<- e, ee, se`.
fn accept(
    server: &ServerIdentity,
    hello: &ClientHello,
    their_ephemeral: &[u8; 32],
) -> Result<Answered, WireError> {
    let own = server.key.private_key.serialize();
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
    noise.authenticate(&server.public_key());
    noise.authenticate(their_ephemeral);
    noise.mix_shared_secret(own, their_ephemeral)?;
    let client_key = decrypt_key(&mut noise, hello.r#static.as_deref())?;
    noise.mix_shared_secret(own, &client_key)?;
    let payload = noise.decrypt(hello.payload.as_deref().ok_or(WireError::Handshake)?)?;

    let ephemeral = KeyPair::generate(&mut rng());
    noise.authenticate(&raw(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), their_ephemeral)?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &client_key)?;
    let certificates = noise.encrypt(&server.certificates)?;
    let reply = server_hello(&ephemeral, None, certificates);
    Ok(Answered::Done {
        reply,
        established: Box::new(establish(noise, client_key, &payload)?),
    })
}

/// XX and XXfallback: `-> e`, `<- e, ee, s, es`, `-> s, se`.
fn offer(server: &ServerIdentity, pattern: &str, their_ephemeral: &[u8; 32]) -> Result<Answered, WireError> {
    let ephemeral = KeyPair::generate(&mut rng());
    let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER)?;
    noise.authenticate(their_ephemeral);
    noise.authenticate(&raw(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), their_ephemeral)?;
    let own_key = noise.encrypt(&server.public_key())?;
    noise.mix_shared_secret(server.key.private_key.serialize(), their_ephemeral)?;
    let certificates = noise.encrypt(&server.certificates)?;
    let reply = server_hello(&ephemeral, Some(own_key), certificates);
    Ok(Answered::Pending {
        reply,
        pending: Box::new(Pending { noise, ephemeral }),
    })
}

/// An XX handshake that waits for the client's last message.
pub(super) struct Pending {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

impl Pending {
    pub(super) fn finish(mut self, message: &[u8]) -> Result<Established, WireError> {
        let finish: ClientFinish = decode(message)?
            .client_finish
            .into_option()
            .ok_or(WireError::Handshake)?;
        let client_key = decrypt_key(&mut self.noise, finish.r#static.as_deref())?;
        self.noise
            .mix_shared_secret(self.ephemeral.private_key.serialize(), &client_key)?;
        let payload = self
            .noise
            .decrypt(finish.payload.as_deref().ok_or(WireError::Handshake)?)?;
        establish(self.noise, client_key, &payload)
    }
}

fn establish(noise: NoiseHandshake, client_key: [u8; 32], payload: &[u8]) -> Result<Established, WireError> {
    let payload = wa::ClientPayload::decode_from_slice(payload).map_err(|_| WireError::Handshake)?;
    // The first key of the pair is the one the initiator writes with.
    let (incoming, outgoing) = noise.finish()?;
    Ok(Established {
        incoming,
        outgoing,
        client_key,
        payload,
    })
}

fn decode(message: &[u8]) -> Result<wa::HandshakeMessage, WireError> {
    wa::HandshakeMessage::decode_from_slice(message).map_err(|_| WireError::Handshake)
}

fn server_hello(ephemeral: &KeyPair, own_key: Option<Vec<u8>>, certificates: Vec<u8>) -> Vec<u8> {
    let hello = ServerHello {
        ephemeral: Some(raw(ephemeral).to_vec()),
        r#static: own_key,
        payload: Some(certificates),
        ..Default::default()
    };
    wa::HandshakeMessage {
        server_hello: MessageField::some(hello),
        ..Default::default()
    }
    .encode_to_vec()
}

fn certificate(issuer: &KeyPair, serial: u32, issuer_serial: u32, subject: &KeyPair) -> NoiseCertificate {
    let details = Details {
        serial: Some(serial),
        issuer_serial: Some(issuer_serial),
        key: Some(raw(subject).to_vec()),
        not_before: Some(VALIDITY.0),
        not_after: Some(VALIDITY.1),
    }
    .encode_to_vec();
    let signature = issuer
        .calculate_signature(&details, &mut rng())
        .expect("a generated key signs");
    NoiseCertificate {
        details: Some(details),
        signature: Some(signature.to_vec()),
    }
}

fn decrypt_key(noise: &mut NoiseHandshake, ciphertext: Option<&[u8]>) -> Result<[u8; 32], WireError> {
    key_of(Some(&noise.decrypt(ciphertext.ok_or(WireError::Handshake)?)?))
}

fn key_of(bytes: Option<&[u8]>) -> Result<[u8; 32], WireError> {
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(WireError::Handshake)
}

fn key_pair(secret: &[u8; 32]) -> KeyPair {
    let private = PrivateKey::deserialize(secret).expect("a private key is any 32 bytes");
    KeyPair::new(
        private.public_key().expect("a private key has a public one"),
        private,
    )
}

fn raw(pair: &KeyPair) -> [u8; 32] {
    pair.public_key
        .public_key_bytes()
        .try_into()
        .expect("a public key has 32 bytes")
}

fn rng() -> StdRng {
    rand::make_rng()
}

impl From<HandshakeError> for WireError {
    fn from(error: HandshakeError) -> Self {
        Self::Noise(error.to_string())
    }
}

#[cfg(test)]
mod tests;
