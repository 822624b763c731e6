//! A disk that is slow is not a session that is dead.

use std::time::Duration;

use presence_core::{Availability, ChatState};
use presence_wa::{Connector, SessionState};
use tokio::time::timeout;

use crate::support::{ME, ana, instance, keys_in, lock_keys_in, online, pair, sandbox, sent, whatsapp_with};

/// A store waits for the lock for as long as it is held, which is longer. Far more than stanzas take, on a busy machine
/// too.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn while_no_key_can_be_written_everything_is_sent_and_the_session_stays() {
    let directory = tempfile::tempdir().unwrap();
    let keys = keys_in(&directory).await;
    let sandbox = sandbox();
    let whatsapp = whatsapp_with(&sandbox, keys.clone());
    pair(&whatsapp, &sandbox).await;
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    let number = "5511977776666".parse().unwrap();
    let lid = "99887766554433".parse().unwrap();
    sandbox.set_number(number, Some(number), Some(lid)).unwrap();

    let lock = lock_keys_in(&directory).await;
    // Each leaves something to be saved.
    sandbox.rename(ana(), "Ana");
    let chat = "5511977776666@s.whatsapp.net".parse().unwrap();
    let busy = async {
        let found = session
            .query_contact(&"5511977776666".parse().unwrap())
            .await
            .unwrap();
        assert!(found.unwrap().lid.is_some());
        session.set_availability(Availability::Available).await.unwrap();
        for state in [ChatState::Composing, ChatState::Recording, ChatState::Paused] {
            session.send_chat_state(&chat, state).await.unwrap();
        }
        assert_eq!(sent(&sandbox, "chatstate", 3).await.len(), 3);
        assert!(matches!(*session.state().borrow(), SessionState::Online(_)));
        // Nor does it hold up reading the keys of others.
        assert_eq!(whatsapp.saved(instance(8)).await.unwrap(), None);
    };
    timeout(SOON, busy).await.expect("something waited for the disk");
    session.close().await;
    drop(lock);

    // Everything that was to be saved meanwhile is.
    keys.close().await;
    let after = whatsapp_with(&sandbox, keys_in(&directory).await);
    let me = after.saved(ME).await.unwrap().unwrap();
    assert_eq!(me.push_name.as_deref(), Some("Ana"));
}
