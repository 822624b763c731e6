//! The key under which instances' tokens are kept, so that their owner can list them again, their proxies, the
//! webhooks of accounts, and the keys of devices.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use presence_core::InstanceId;
use zeroize::Zeroizing;

use crate::account::AccountId;
use crate::error::{InvalidKey, StoreError};
use crate::random::random;
use crate::secret_text::SecretText;
use crate::token::Token;

/// Where the token key comes from.
#[derive(Debug)]
pub enum KeySource {
    /// The file `token.key` of the data directory. It is created on first use.
    File,
    /// The caller, who keeps it elsewhere.
    Given(TokenKey),
    /// Nowhere: accounts can be managed, but instances' tokens neither made nor shown.
    Absent,
}

/// A secret key of 256 bits. Wiped from memory when dropped; its `Debug` is redacted.
#[derive(Clone)]
pub struct TokenKey(Zeroizing<[u8; Self::LENGTH]>);

impl TokenKey {
    /// Its length in bytes.
    pub const LENGTH: usize = 32;

    /// The key that `text` spells in standard base64; space around it is ignored.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is not base64, or not of 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| InvalidKey::Base64)?);
        let key = bytes
            .as_slice()
            .try_into()
            .map_err(|_| InvalidKey::Length(bytes.len()))?;
        Ok(Self(Zeroizing::new(key)))
    }

    pub(crate) fn generate() -> Result<Self, StoreError> {
        random().map(Self)
    }

    /// What [`from_base64`](Self::from_base64) reads.
    pub(crate) fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(*self.0))
    }

    /// Seals the token of `instance`. It opens for that instance only: swapping rows swaps no tokens.
    pub(crate) fn seal_token(&self, instance: InstanceId, token: &Token) -> Result<SealedToken, StoreError> {
        self.seal(&token_context(instance), token.expose().as_bytes())
            .map(SealedToken)
    }

    pub(crate) fn open_token(&self, instance: InstanceId, sealed: &SealedToken) -> Result<Token, StoreError> {
        self.open(&token_context(instance), &sealed.0)
            .and_then(|plain| std::str::from_utf8(&plain).ok()?.parse().ok())
            .ok_or(StoreError::Corrupt { what: "sealed token" })
    }

    /// Seals the proxy of `instance`, which opens for that instance only.
    pub(crate) fn seal_proxy(
        &self,
        instance: InstanceId,
        proxy: &SecretText,
    ) -> Result<SealedProxy, StoreError> {
        self.seal(&proxy_context(instance), proxy.expose().as_bytes())
            .map(SealedProxy)
    }

    pub(crate) fn open_proxy(
        &self,
        instance: InstanceId,
        sealed: &SealedProxy,
    ) -> Result<SecretText, StoreError> {
        self.open(&proxy_context(instance), &sealed.0)
            .and_then(|plain| Some(SecretText::new(str::from_utf8(&plain).ok()?.to_owned())))
            .ok_or(StoreError::Corrupt { what: "sealed proxy" })
    }

    /// Seals the webhook of `account`, which opens for that account only.
    pub(crate) fn seal_webhook(
        &self,
        account: AccountId,
        webhook: &SecretText,
    ) -> Result<SealedWebhook, StoreError> {
        self.seal(&webhook_context(account), webhook.expose().as_bytes())
            .map(SealedWebhook)
    }

    pub(crate) fn open_webhook(
        &self,
        account: AccountId,
        sealed: &SealedWebhook,
    ) -> Result<SecretText, StoreError> {
        self.open(&webhook_context(account), &sealed.0)
            .and_then(|plain| Some(SecretText::new(str::from_utf8(&plain).ok()?.to_owned())))
            .ok_or(StoreError::Corrupt {
                what: "sealed webhook",
            })
    }

    /// Seals a device key, for its row alone: neither another device nor another name takes it.
    pub(crate) fn seal_row(
        &self,
        device: InstanceId,
        kind: u8,
        name: &[u8],
        value: &[u8],
    ) -> Result<Box<[u8]>, StoreError> {
        self.seal(&row_context(device, kind, name), value)
    }

    /// `None` when it was sealed with another key or for another row, or damaged.
    pub(crate) fn open_row(
        &self,
        device: InstanceId,
        kind: u8,
        name: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let mut value = self.open(&row_context(device, kind, name), sealed)?;
        Some(std::mem::take(&mut *value))
    }

    /// Seals what `instance` shows, for that instance only.
    pub(crate) fn seal_shown(&self, instance: InstanceId, shown: &[u8]) -> Result<Box<[u8]>, StoreError> {
        self.seal(&shown_context(instance), shown)
    }

    /// `None` when it was sealed with another key or for another instance, or damaged.
    pub(crate) fn open_shown(&self, instance: InstanceId, sealed: &[u8]) -> Option<Bytes> {
        let mut shown = self.open(&shown_context(instance), sealed)?;
        Some(Bytes::from(std::mem::take(&mut *shown)))
    }

    /// A value by which [`matches`](Self::matches) knows this key again.
    pub(crate) fn check_value(&self) -> Result<Vec<u8>, StoreError> {
        self.seal(CHECK_CONTEXT, b"").map(Into::into)
    }

    /// Whether `check_value` was made with this key.
    pub(crate) fn matches(&self, check_value: &[u8]) -> bool {
        self.open(CHECK_CONTEXT, check_value).is_some()
    }

    /// Nonce, then ciphertext and tag. A random nonce of 24 bytes never repeats in practice.
    fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Box<[u8]>, StoreError> {
        let nonce = random::<NONCE_LENGTH>()?;
        let sealed = self
            .cipher()
            .encrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: plain,
                    aad: context,
                },
            )
            .expect("whatever is sealed is far shorter than what the cipher takes at most");
        Ok([nonce.as_slice(), &sealed].concat().into())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
        self.cipher()
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: sealed,
                    aad: context,
                },
            )
            .ok()
            .map(Zeroizing::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// The token of one instance, encrypted and authenticated.
#[derive(Clone)]
pub(crate) struct SealedToken(pub(crate) Box<[u8]>);

/// The proxy of one instance, encrypted and authenticated.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SealedProxy(pub(crate) Box<[u8]>);

/// The webhook of one account, encrypted and authenticated.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SealedWebhook(pub(crate) Box<[u8]>);

fn webhook_context(account: AccountId) -> Vec<u8> {
    format!("presence account webhook {account}").into_bytes()
}

fn proxy_context(instance: InstanceId) -> Vec<u8> {
    format!("presence instance proxy {instance}").into_bytes()
}

fn token_context(instance: InstanceId) -> Vec<u8> {
    format!("presence instance token {instance}").into_bytes()
}

fn shown_context(instance: InstanceId) -> Vec<u8> {
    format!("presence instance shown {instance}").into_bytes()
}

fn row_context(device: InstanceId, kind: u8, name: &[u8]) -> Vec<u8> {
    let fixed = format!("presence device key {device} {kind} ");
    [fixed.as_bytes(), name].concat()
}

const CHECK_CONTEXT: &[u8] = b"presence token key check";
const NONCE_LENGTH: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(number: i32) -> InstanceId {
        InstanceId::new(number).unwrap()
    }

    #[test]
    fn a_sealed_token_opens_for_its_instance_and_key_only() {
        let [key, other_key] = [(); 2].map(|()| TokenKey::generate().unwrap());
        let token = Token::for_instance().unwrap();
        let sealed = key.seal_token(instance(7), &token).unwrap();
        assert_eq!(key.open_token(instance(7), &sealed).unwrap(), token);
        assert!(key.open_token(instance(8), &sealed).is_err());
        assert!(other_key.open_token(instance(7), &sealed).is_err());
        for at in 0..sealed.0.len() {
            let mut damaged = sealed.clone();
            damaged.0[at] ^= 1;
            assert!(key.open_token(instance(7), &damaged).is_err(), "byte {at}");
            assert!(
                key.open_token(instance(7), &SealedToken(sealed.0[..at].into()))
                    .is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_sealed_proxy_opens_for_its_instance_and_key_only_and_is_no_token() {
        let [key, other_key] = [(); 2].map(|()| TokenKey::generate().unwrap());
        let proxy = SecretText::new("socks5 at proxy.example.com".to_owned());
        let sealed = key.seal_proxy(instance(7), &proxy).unwrap();
        assert_eq!(key.open_proxy(instance(7), &sealed).unwrap(), proxy);
        assert!(key.open_proxy(instance(8), &sealed).is_err());
        assert!(other_key.open_proxy(instance(7), &sealed).is_err());
        assert!(
            key.open_token(instance(7), &SealedToken(sealed.0.clone()))
                .is_err()
        );
        assert_eq!(format!("{proxy:?}"), "SecretText(..)");
    }

    #[test]
    fn a_sealed_webhook_opens_for_its_account_and_key_only() {
        let [key, other_key] = [(); 2].map(|()| TokenKey::generate().unwrap());
        let webhook = SecretText::new("a URL and a secret".to_owned());
        let sealed = key.seal_webhook(AccountId(7), &webhook).unwrap();
        assert_eq!(key.open_webhook(AccountId(7), &sealed).unwrap(), webhook);
        assert!(key.open_webhook(AccountId(8), &sealed).is_err());
        assert!(other_key.open_webhook(AccountId(7), &sealed).is_err());
    }

    #[test]
    fn the_same_token_is_never_sealed_alike() {
        let key = TokenKey::generate().unwrap();
        let token = Token::for_instance().unwrap();
        let [one, other] = [(); 2].map(|()| key.seal_token(instance(1), &token).unwrap());
        assert_ne!(one.0, other.0);
    }

    #[test]
    fn a_key_knows_its_own_check_value() {
        let [key, other] = [(); 2].map(|()| TokenKey::generate().unwrap());
        let check = key.check_value().unwrap();
        assert!(key.matches(&check));
        assert!(!other.matches(&check));
        assert!(!key.matches(b""));
    }

    #[test]
    fn a_key_shows_itself_on_demand_only() {
        let key = TokenKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "TokenKey(..)");
        let again = TokenKey::from_base64(&key.to_base64()).unwrap();
        assert!(again.matches(&key.check_value().unwrap()));
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        assert!(TokenKey::from_base64(&format!(" {}\n", STANDARD.encode([7; 32]))).is_ok());
        assert_eq!(
            TokenKey::from_base64(&STANDARD.encode([7; 31])).unwrap_err(),
            InvalidKey::Length(31)
        );
        assert_eq!(TokenKey::from_base64("").unwrap_err(), InvalidKey::Length(0));
        assert_eq!(
            TokenKey::from_base64("not base64!").unwrap_err(),
            InvalidKey::Base64
        );
    }
}
