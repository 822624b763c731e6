//! The secret of a webhook, and how it signs: as Standard Webhooks has it, for which there are libraries.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A secret that both sides of a webhook know. Wiped from memory when dropped; its `Debug` is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl WebhookSecret {
    /// What its text begins with.
    const PREFIX: &str = "whsec_";
    /// How many bytes it may have.
    const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

    /// A new one, of 32 random bytes.
    #[must_use]
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random::<[u8; 32]>().to_vec()))
    }

    /// Its text, which [`FromStr`] reads.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", Self::PREFIX, STANDARD.encode(&*self.0)))
    }

    /// The field `webhook-signature` of a call that is made at `timestamp`, in Unix seconds.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of HMAC may have any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// `whsec_` and 24 to 64 bytes in base64.
impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.strip_prefix(Self::PREFIX).ok_or(InvalidSecret)?;
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| InvalidSecret)?);
        if !Self::LENGTHS.contains(&bytes.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// What is no secret of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret of a webhook is whsec_ and 24 to 64 bytes in base64")]
pub struct InvalidSecret;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_libraries_of_standard_webhooks_do() {
        // The example of the specification.
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(
            secret.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_is_read_as_it_is_written_and_shown_on_demand_only() {
        let secret = WebhookSecret::generate();
        assert_eq!(secret.expose().parse(), Ok(secret.clone()));
        assert_ne!(secret, WebhookSecret::generate());
        assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
        let of = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for length in [24, 64] {
            assert_eq!(*of(length).parse::<WebhookSecret>().unwrap().expose(), of(length));
        }
        for wrong in [
            "",
            "whsec_",
            "whsec_?",
            &of(23),
            &of(65),
            &of(32)["whsec_".len()..],
        ] {
            assert_eq!(wrong.parse::<WebhookSecret>(), Err(InvalidSecret), "{wrong}");
        }
    }
}
