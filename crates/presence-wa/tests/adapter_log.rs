//! What the service logs with the directives that silence the client. In a process of its own, because the
//! subscriber is the process's.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use presence_core::{Availability, ChatState, InstanceId};
use presence_sandbox::Sandbox;
use presence_store::MemoryKeyStore;
use presence_wa::{Connector, Edge, PairingUpdate, QUIET_CLIENT, SessionState, WhatsApp, WhatsAppConfig};
use tokio::time::timeout;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

const ME: InstanceId = InstanceId::new(1).unwrap();

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_number_and_no_code_reaches_the_log() {
    let log = Log::default();
    let filter = EnvFilter::new(format!("trace,{QUIET_CLIENT}"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .with_ansi(false)
        .init();

    let sandbox = Sandbox::builder().start().await.unwrap();
    let edge = Edge::Sandbox {
        url: sandbox.edge_url().unwrap().parse().unwrap(),
        key: sandbox.edge_key(),
    };
    let whatsapp = WhatsApp::new(WhatsAppConfig::new(edge, Arc::<MemoryKeyStore>::default())).unwrap();

    let session = whatsapp.open(ME).await.unwrap();
    let number = "5511988887777";
    let code = session.request_link_code(&number.parse().unwrap()).await.unwrap();
    let qr = match session.state().borrow().clone() {
        SessionState::Pairing(PairingUpdate::Qr { code, .. }) => code,
        state => panic!("{state:?}"),
    };
    sandbox
        .enter_link_code(number.parse().unwrap(), code.as_str())
        .await
        .unwrap();
    session
        .state()
        .wait_for(|state| matches!(state, SessionState::Ended(_)))
        .await
        .unwrap();

    let session = whatsapp.open(ME).await.unwrap();
    let mut state = session.state();
    let online = state.wait_for(|state| matches!(state, SessionState::Online(_)));
    drop(timeout(Duration::from_secs(20), online).await.unwrap().unwrap());
    let chat = "5511977776666@s.whatsapp.net".parse().unwrap();
    session
        .send_chat_state(&chat, ChatState::Composing)
        .await
        .unwrap();
    session.local_contact(&chat).await.unwrap();
    session
        .query_contact(&"5511977776666".parse().unwrap())
        .await
        .unwrap();
    session.set_availability(Availability::Available).await.unwrap();
    session.logout(Duration::from_secs(5)).await;
    tracing::info!("the log is read");

    let log = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
    assert!(log.contains("the log is read"));
    for secret in [
        number,
        "5511977776666",
        &qr,
        code.as_str(),
        &code.as_str().replace('-', ""),
    ] {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret}");
    }
}
