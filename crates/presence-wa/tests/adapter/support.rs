//! A sandbox, a connector that dials it through pipes, and what tests say about sessions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use presence_core::InstanceId;
use presence_sandbox::{Number, Sandbox, World};
use presence_store::{KeyStore, MemoryKeyStore, SqliteKeyStore, TokenKey};
use presence_wa::{
    ByteStream, Connector, Dial, Edge, End, Online, PairingUpdate, Session, SessionState, WhatsApp,
    WhatsAppConfig,
};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::timeout;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The instance that tests pair.
pub(crate) const ME: InstanceId = instance(7);

pub(crate) const fn instance(number: i32) -> InstanceId {
    InstanceId::new(number).unwrap()
}

/// The account that tests pair with.
pub(crate) fn ana() -> Number {
    "5511988887777".parse().unwrap()
}

pub(crate) fn sandbox() -> Arc<Sandbox> {
    Arc::new(Sandbox::builder().detached())
}

struct Pipes(Arc<Sandbox>);

#[async_trait]
impl Dial for Pipes {
    async fn dial(&self) -> io::Result<Box<dyn ByteStream>> {
        Ok(Box::new(self.0.dial()))
    }
}

pub(crate) fn config(sandbox: &Sandbox, keys: Arc<dyn KeyStore>) -> WhatsAppConfig {
    let url = sandbox
        .edge_url()
        .unwrap_or_else(|| "ws://sandbox/ws/chat".to_owned());
    WhatsAppConfig::new(
        Edge::Sandbox {
            url: url.parse().unwrap(),
            key: sandbox.edge_key(),
        },
        keys,
    )
}

pub(crate) fn whatsapp(sandbox: &Arc<Sandbox>) -> WhatsApp {
    whatsapp_with(sandbox, Arc::<MemoryKeyStore>::default())
}

pub(crate) fn whatsapp_with(sandbox: &Arc<Sandbox>, keys: Arc<dyn KeyStore>) -> WhatsApp {
    WhatsApp::new(config(sandbox, keys))
        .unwrap()
        .with_dial(Arc::new(Pipes(Arc::clone(sandbox))))
}

/// Device keys in a file in `directory`. Tests that use them run on the real clock: a paused one would leap ahead
/// while the disk is waited for.
pub(crate) async fn keys_in(directory: &TempDir) -> Arc<SqliteKeyStore> {
    let key = TokenKey::from_base64("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let opened = SqliteKeyStore::open(&directory.path().join("keys.db"), Some(key)).await;
    Arc::new(opened.unwrap())
}

/// Keeps everybody else from writing device keys in `directory`, until it is dropped.
pub(crate) async fn lock_keys_in(directory: &TempDir) -> SqliteConnection {
    let url = format!("sqlite://{}", directory.path().join("keys.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

/// Waits until the session's state is as `is_so` says.
pub(crate) async fn until(session: &dyn Session, is_so: impl FnMut(&SessionState) -> bool) -> SessionState {
    let mut state = session.state();
    let found = timeout(10 * MINUTE, state.wait_for(is_so)).await;
    found
        .expect("the state never came")
        .expect("the session is gone")
        .clone()
}

pub(crate) async fn qr(session: &dyn Session) -> String {
    let is_qr = |state: &SessionState| matches!(state, SessionState::Pairing(PairingUpdate::Qr { .. }));
    match until(session, is_qr).await {
        SessionState::Pairing(PairingUpdate::Qr { code, .. }) => code,
        _ => unreachable!("it was asked for"),
    }
}

pub(crate) async fn online(session: &dyn Session) -> Online {
    let over = |state: &SessionState| matches!(state, SessionState::Online(_) | SessionState::Ended(_));
    match until(session, over).await {
        SessionState::Online(online) => online,
        state => panic!("{state:?}"),
    }
}

pub(crate) async fn end(session: &dyn Session) -> End {
    match until(session, |state| matches!(state, SessionState::Ended(_))).await {
        SessionState::Ended(end) => end,
        _ => unreachable!("it was asked for"),
    }
}

/// Links `ME` to Ana's phone.
pub(crate) async fn pair(whatsapp: &WhatsApp, sandbox: &Sandbox) {
    let session = whatsapp.open(ME).await.unwrap();
    let qr = qr(&*session).await;
    sandbox.scan(ana(), &qr).await.unwrap();
    assert_eq!(end(&*session).await, End::Paired);
}

/// A sandbox and a session of Ana's that is online.
pub(crate) async fn online_session() -> (Arc<Sandbox>, WhatsApp, Box<dyn Session>) {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    pair(&whatsapp, &sandbox).await;
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    (sandbox, whatsapp, session)
}

/// Waits until clients have sent `count` stanzas named `tag`, and gives them as text.
pub(crate) async fn sent(sandbox: &Sandbox, tag: &str, count: usize) -> Vec<String> {
    let start = format!("<{tag} ");
    let sent = |world: &World| -> Vec<String> {
        let stanzas = world
            .journal(0, usize::MAX)
            .entries
            .into_iter()
            .map(|entry| entry.stanza);
        stanzas.filter(|stanza| stanza.starts_with(&start)).collect()
    };
    let waited = timeout(10 * MINUTE, sandbox.wait_for(|world| sent(world).len() >= count)).await;
    let sent = sandbox.look(sent);
    assert!(waited.is_ok(), "they sent only {sent:?}");
    sent
}

/// Waits until WhatsApp takes Ana's device for `available`, or not.
pub(crate) async fn until_available(sandbox: &Sandbox, available: bool) {
    let waited = sandbox.wait_for(|world| world.is_available(ana()) == available);
    timeout(10 * MINUTE, waited)
        .await
        .expect("the availability never changed");
}
