//! Closing, logging out, and what outlives a session.

use std::sync::Arc;

use presence_sandbox::{Answer, Fault, Sandbox};
use presence_store::MemoryKeyStore;
use presence_wa::{Connector, End, WhatsApp};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::support::{
    ME, SECOND, ana, config, end, instance, keys_in, online, online_session, pair, qr, sandbox, sent,
    whatsapp, whatsapp_with,
};

#[tokio::test(start_paused = true)]
async fn closing_leaves_no_task_behind() {
    let (_sandbox, whatsapp, session) = online_session().await;
    session.close().await;
    session.close().await;
    assert_eq!(end(&*session).await, End::Closed);
    drop(session);
    others_end().await;
    let before = Handle::current().metrics().num_alive_tasks();

    for _ in 0..3 {
        let session = whatsapp.open(ME).await.unwrap();
        online(&*session).await;
        session.close().await;
    }
    let dropped = whatsapp.open(ME).await.unwrap();
    online(&*dropped).await;
    drop(dropped);
    let pairing = whatsapp.open(instance(8)).await.unwrap();
    qr(&*pairing).await;
    pairing.close().await;
    others_end().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

/// Lets the sandbox see that its peer is gone, and what was closed in the background end.
async fn others_end() {
    tokio::time::sleep(5 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_closed_while_it_dials_ends_too() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    let session = whatsapp.open(ME).await.unwrap();
    session.close().await;
    assert_eq!(end(&*session).await, End::Closed);
    qr(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_is_open_once_at_a_time() {
    let sandbox = sandbox();
    let whatsapp = whatsapp(&sandbox);
    let first = whatsapp.open(ME).await.unwrap();
    qr(&*first).await;
    assert!(whatsapp.open(ME).await.is_err());
    assert!(whatsapp.wipe(ME).await.is_err());
    drop(first);
    qr(&*whatsapp.open(ME).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_logout_unlinks_the_device() {
    let (sandbox, whatsapp, session) = online_session().await;
    session.logout(5 * SECOND).await;
    assert_eq!(end(&*session).await, End::Closed);
    assert_eq!(sandbox.look(|world| world.linked_devices(ana())), 0);
    whatsapp.wipe(ME).await.unwrap();
    assert_eq!(whatsapp.saved(ME).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_logout_that_whatsapp_does_not_answer_is_bounded() {
    let (sandbox, _whatsapp, session) = online_session().await;
    sandbox.fault(Fault::withhold(Answer::Logout)).unwrap();
    sandbox.fault(Fault::stall()).unwrap();
    let asked = Instant::now();
    session.logout(5 * SECOND).await;
    assert!(asked.elapsed() <= 7 * SECOND, "{:?}", asked.elapsed());
    assert_eq!(end(&*session).await, End::Closed);
}

#[tokio::test]
async fn a_pairing_is_on_disk_before_the_phone_believes_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox();
    let whatsapp = whatsapp_with(&sandbox, keys_in(&directory).await);
    let session = whatsapp.open(ME).await.unwrap();
    let qr = qr(&*session).await;
    sandbox.scan(ana(), &qr).await.unwrap();
    // What a crash at this moment would leave: nothing runs while it is copied.
    let crashed = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), crashed.path().join(entry.file_name())).unwrap();
    }
    let survivor = whatsapp_with(&sandbox, keys_in(&crashed).await);
    assert!(survivor.saved(ME).await.unwrap().is_some());
    assert_eq!(end(&*session).await, End::Paired);
}

#[tokio::test(start_paused = true)]
async fn a_pairing_survives_a_restart_but_not_another_sandbox() {
    let keys = Arc::<MemoryKeyStore>::default();
    let sandbox = sandbox();
    pair(&whatsapp_with(&sandbox, keys.clone()), &sandbox).await;
    let whatsapp = whatsapp_with(&sandbox, keys.clone());
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    session.close().await;

    // Another one has another key, and does not know the device.
    let whatsapp = whatsapp_with(&crate::support::sandbox(), keys);
    let session = whatsapp.open(ME).await.unwrap();
    assert_eq!(end(&*session).await, End::LoggedOut { at_login: false });
}

#[tokio::test(start_paused = true)]
async fn the_paired_instances_are_read_at_once_after_a_restart() {
    let keys = Arc::<MemoryKeyStore>::default();
    let sandbox = sandbox();
    let before = whatsapp_with(&sandbox, keys.clone());
    assert_eq!(before.paired().await.unwrap(), []);
    pair(&before, &sandbox).await;
    let unpaired = before.open(instance(8)).await.unwrap();
    qr(&*unpaired).await;

    let after = whatsapp_with(&sandbox, keys);
    let me = after.saved(ME).await.unwrap().unwrap();
    assert_eq!(me.jid, format!("{}@s.whatsapp.net", ana()));
    assert_eq!(after.paired().await.unwrap(), [(ME, me.clone())]);
    assert_eq!(after.saved(instance(8)).await.unwrap(), None);

    let in_memory = whatsapp(&sandbox);
    assert_eq!(in_memory.paired().await.unwrap(), []);
    pair(&in_memory, &sandbox).await;
    assert_eq!(in_memory.paired().await.unwrap(), [(ME, me)]);
}

#[tokio::test]
async fn the_same_over_tcp() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let whatsapp = WhatsApp::new(config(&sandbox, Arc::<MemoryKeyStore>::default())).unwrap();
    pair(&whatsapp, &sandbox).await;
    let session = whatsapp.open(ME).await.unwrap();
    online(&*session).await;
    session.close().await;
    sandbox.stop().await;
    let session = whatsapp.open(ME).await.unwrap();
    let end = end(&*session).await;
    assert!(
        matches!(&end, End::Lost(why) if why.contains("dialling")),
        "{end:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_devices_on_one_file_live_side_by_side() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = sandbox();
    let keys = keys_in(&directory).await;
    let whatsapp = Arc::new(whatsapp_with(&sandbox, keys.clone()));
    let mut lives = tokio::task::JoinSet::new();
    for nth in 1..=40 {
        let (sandbox, whatsapp) = (Arc::clone(&sandbox), Arc::clone(&whatsapp));
        lives.spawn(async move {
            let device = instance(nth);
            let number = format!("55119000000{nth:02}").parse().unwrap();
            let session = whatsapp.open(device).await.unwrap();
            sandbox.scan(number, &qr(&*session).await).await.unwrap();
            assert_eq!(end(&*session).await, End::Paired);
            for _ in 0..3 {
                let session = whatsapp.open(device).await.unwrap();
                online(&*session).await;
                assert_eq!(sandbox.drop_connections(number), 1);
                assert!(matches!(end(&*session).await, End::Lost(_)));
            }
            let session = whatsapp.open(device).await.unwrap();
            online(&*session).await;
            session.logout(5 * SECOND).await;
            assert_eq!(sandbox.look(|world| world.linked_devices(number)), 0);
        });
    }
    while let Some(life) = lives.join_next().await {
        life.unwrap();
    }
    // On several threads too, the client finds no moment to tell something by itself.
    assert_eq!(sent(&sandbox, "presence", 0).await, [""; 0]);

    keys.close().await;
    let after = whatsapp_with(&sandbox, keys_in(&directory).await);
    assert_eq!(after.paired().await.unwrap().len(), 40, "nobody wiped any");
}
