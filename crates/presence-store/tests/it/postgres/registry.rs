//! Several nodes over one registry.

use std::sync::Arc;
use std::time::Duration;

use presence_store::{CreateInstanceError, Postgres, Registry as _, Store, StoreError, TokenKey};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{TestDatabase, instances, many_instances, registry};
use crate::support::{account, id, instance, new_instance, now, view};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_connect_to_a_new_database_at_once_all_succeed() {
    let database = Arc::new(TestDatabase::create().await);
    let connecting: JoinSet<()> = (0..8)
        .map(|number| {
            let database = database.clone();
            async move {
                let store = database.registry().await;
                let (owner, _) = account(&store, &format!("account-{number}"), None).await;
                instance(&store, &owner, "one").await;
            }
        })
        .collect();
    connecting.join_all().await;
    let store = database.registry().await;
    assert_eq!(
        view(&store).len(),
        1 + 8 + 8,
        "every token opens with the one key"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_nodes_one_gets_the_name_and_nobody_is_lost() {
    let database = TestDatabase::create().await;
    let stores = [(); 4].map(|()| database.registry());
    let stores: Vec<Arc<Store>> = futures_util::future::join_all(stores)
        .await
        .into_iter()
        .map(Arc::new)
        .collect();
    let (owner, _) = account(&*stores[0], "acme", None).await;
    let id = owner.id;
    let creating: JoinSet<_> = (0..16)
        .map(|number| {
            let store = stores[number % 4].clone();
            async move {
                let own = store
                    .create_instance(id, new_instance(&format!("own-{number}")))
                    .await;
                own.expect("a name of its own");
                store.create_instance(id, new_instance("same")).await
            }
        })
        .collect();
    let outcomes = creating.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (1, 15));
    assert!(refused.iter().flatten().next().is_none());
    assert!(
        refused
            .iter()
            .all(|refused| matches!(refused, Err(CreateInstanceError::NameTaken)))
    );
    for store in &stores {
        store.refresh().await.unwrap();
        assert_eq!(store.all_instances().len(), 17);
        assert_eq!(view(&**store), view(&*stores[0]));
    }
}

#[tokio::test]
async fn a_node_that_follows_is_told_of_a_change_at_once() {
    let database = TestDatabase::create().await;
    let (writer, reader) = (database.registry().await, Arc::new(database.registry().await));
    reader.follow();
    let mut changes = reader.changes();
    let mut fastest = Duration::MAX;
    for (at, name) in ["first", "second", "third", "fourth"].into_iter().enumerate() {
        // Right after a look, so that the next one is nearly half a second away.
        tokio::time::sleep(Duration::from_millis(50)).await;
        account(&writer, name, None).await;
        let written = Instant::now();
        changes.changed().await.unwrap();
        assert!(reader.account_named(name).is_some());
        if at > 0 {
            fastest = fastest.min(written.elapsed());
        }
    }
    assert!(fastest < Duration::from_millis(300), "{fastest:?}");
}

#[tokio::test]
async fn what_another_node_wiped_is_wiped() {
    let database = TestDatabase::create().await;
    let (one, other) = (database.registry().await, database.registry().await);
    instances(&one, 3).await;
    for number in [1, 2] {
        one.delete_instance(id(number)).await.unwrap();
    }
    other.refresh().await.unwrap();
    assert_eq!(other.deleted_unwiped(), [id(1), id(2)]);
    one.mark_wiped(&[id(1)]).await.unwrap();
    other.refresh().await.unwrap();
    assert_eq!(other.deleted_unwiped(), [id(2)]);
    assert_eq!(database.registry().await.deleted_unwiped(), [id(2)]);
}

#[tokio::test]
async fn use_outdates_nobody() {
    let database = TestDatabase::create().await;
    let (one, other) = (database.registry().await, database.registry().await);
    instances(&one, 2).await;
    other.refresh().await.unwrap();
    let before = one.changes();
    other
        .touch(&[(id(1), now()), (id(2), now()), (id(3), now())])
        .await
        .unwrap();
    one.refresh().await.unwrap();
    assert_eq!(*before.borrow(), *one.changes().borrow());
    let fresh = database.registry().await;
    assert_eq!(
        fresh
            .instance_by_id(id(2))
            .unwrap()
            .last_used
            .unwrap()
            .timestamp_millis(),
        now().timestamp_millis()
    );
}

#[tokio::test]
async fn who_is_far_behind_reads_everything() {
    let database = TestDatabase::create().await;
    let (one, behind) = (database.registry().await, database.registry().await);
    instances(&one, 2).await;
    behind.refresh().await.unwrap();
    for step in 0..1100 {
        one.set_keep_online(id(1), step % 2 == 0).await.unwrap();
    }
    one.delete_instance(id(2)).await.unwrap();
    behind.refresh().await.unwrap();
    assert_eq!(view(&behind), view(&one));
}

#[tokio::test]
async fn another_key_is_refused() {
    let database = TestDatabase::create().await;
    database.registry().await;
    let other = TokenKey::from_base64(&format!("{}A=", "A".repeat(42))).unwrap();
    let postgres = database.connect().await;
    assert!(matches!(
        postgres.open_registry(Some(other)).await,
        Err(StoreError::WrongKey)
    ));
    assert!(postgres.open_registry(None).await.is_ok());
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let database = TestDatabase::create().await;
    database.registry().await;
    sqlx::raw_sql("UPDATE schema_version SET version = 1000")
        .execute(&mut database.raw().await)
        .await
        .unwrap();
    let refused = Postgres::connect(&database.options()).await;
    assert!(matches!(
        refused.err(),
        Some(StoreError::Newer { found: 1000, .. })
    ));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away() {
    let database = TestDatabase::create().await;
    let options = presence_store::PostgresOptions {
        url: "postgres://nobody@127.0.0.1:1/nothing".to_owned(),
        ..database.options()
    };
    let refused = Postgres::connect(&options).await.err();
    assert!(matches!(refused, Some(StoreError::Away { .. })), "{refused:?}");
    let postgres = database.connect().await;
    let store = registry(&postgres).await;
    many_instances(&database, 1).await;
    // As a restart does.
    sqlx::raw_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .execute(&mut database.raw().await)
        .await
        .unwrap();
    store
        .check()
        .await
        .expect("new connections take the place of those that broke");
    postgres.close().await;
    assert!(matches!(store.check().await, Err(StoreError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_given_up_halfway_leaves_all_or_nothing_and_no_connection() {
    let database = TestDatabase::create().await;
    let (store, other) = (database.registry().await, database.registry().await);
    let mut made = 0;
    for number in 0..60 {
        let name = format!("account-{number}");
        let create = store.create_account(name.parse().unwrap(), None, now());
        if timeout(Duration::from_micros(number * 150), create).await.is_ok() {
            made += 1;
        }
    }
    store.refresh().await.unwrap();
    other.refresh().await.unwrap();
    assert_eq!(view(&store), view(&other));
    assert!(store.accounts().len() >= made);
    account(&store, "afterwards", None).await;
    other.check().await.unwrap();
    assert!(other.account_named("afterwards").is_some());
}
