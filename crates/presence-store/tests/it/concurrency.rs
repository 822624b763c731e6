//! Several writers on one file, as a server and its command line are, and writers that are given up halfway.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use presence_store::{
    Caller, CreateAccountError, CreateInstanceError, DataDir, NewInstance, Registry, Store,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{account, data_dir, instance, new_instance, now, open, parsed, view};

/// Runs `write` sixteen times at once, on two handles of the same file.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    dir: &DataDir,
    write: impl Fn(Arc<Store>, usize) -> F,
) -> Vec<T> {
    let stores = [Arc::new(open(dir).await), Arc::new(open(dir).await)];
    let writers: JoinSet<T> = (0..16)
        .map(|number| write(stores[number % 2].clone(), number))
        .collect();
    let outcomes = writers.join_all().await;
    for store in &stores {
        store.refresh().await.unwrap();
        assert_eq!(view(&**store), view(&open(dir).await));
    }
    outcomes
}

/// The one success; everyone else must have failed as `expected`.
fn only_winner<T, E: std::fmt::Debug>(outcomes: Vec<Result<T, E>>, expected: fn(&E) -> bool) -> T {
    let (mut won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    assert!(
        lost.iter()
            .flat_map(|outcome| outcome.as_ref().err())
            .all(expected)
    );
    won.pop().and_then(Result::ok).expect("one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_open_a_new_directory_at_once_all_succeed() {
    let (_temporary, dir) = data_dir();
    let opening: JoinSet<()> = (0..8)
        .map(|number| {
            let dir = dir.clone();
            async move {
                let store = open(&dir).await;
                let (owner, _) = account(&store, &format!("account-{number}"), None).await;
                instance(&store, &owner, "one").await;
            }
        })
        .collect();
    opening.join_all().await;
    let store = open(&dir).await;
    assert_eq!(store.accounts().len(), 8);
    assert_eq!(
        view(&store).len(),
        1 + 8 + 8,
        "every token opens with the one key"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_one_gets_the_account_name() {
    let (_temporary, dir) = data_dir();
    let outcomes = race(&dir, |store, _| async move {
        store.create_account(parsed("acme"), None, now()).await
    });
    only_winner(outcomes.await, |error| {
        matches!(error, CreateAccountError::NameTaken)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_one_gets_the_instance_name() {
    let (_temporary, dir) = data_dir();
    let (owner, _) = account(&open(&dir).await, "acme", None).await;
    let id = owner.id;
    let outcomes = race(&dir, move |store, _| async move {
        store.create_instance(id, new_instance("one")).await
    });
    only_winner(outcomes.await, |error| {
        matches!(error, CreateInstanceError::NameTaken)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_one_gets_the_token() {
    let (_temporary, dir) = data_dir();
    let (owner, _) = account(&open(&dir).await, "acme", None).await;
    let id = owner.id;
    let outcomes = race(&dir, move |store, number| async move {
        let token = Some(parsed("0123456789abcdef"));
        store
            .create_instance(
                id,
                NewInstance {
                    token,
                    ..new_instance(&format!("instance-{number}"))
                },
            )
            .await
    });
    let (winner, _) = only_winner(outcomes.await, |error| {
        matches!(error, CreateInstanceError::TokenTaken)
    });
    let caller = open(&dir).await.authenticate("0123456789abcdef");
    assert!(matches!(caller, Some(Caller::Instance(found)) if found.id == winner.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_one_gets_the_last_place_of_a_quota() {
    let (_temporary, dir) = data_dir();
    let (owner, _) = account(&open(&dir).await, "acme", Some(1)).await;
    let id = owner.id;
    let outcomes = race(&dir, move |store, number| async move {
        store
            .create_instance(id, new_instance(&format!("instance-{number}")))
            .await
    });
    only_winner(outcomes.await, |error| {
        matches!(error, CreateInstanceError::QuotaExceeded)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_two_handles_lose_nothing_of_each_other() {
    let (_temporary, dir) = data_dir();
    let (owner, _) = account(&open(&dir).await, "acme", None).await;
    let id = owner.id;
    let outcomes = race(&dir, move |store, number| async move {
        let (made, _) = store
            .create_instance(id, new_instance(&format!("instance-{number}")))
            .await?;
        match number % 4 {
            0 => store.delete_instance(made.id).await?,
            _ => store.set_logged_out(made.id, true).await?,
        };
        Ok::<_, CreateInstanceError>(number)
    });
    let mut expected: Vec<String> = outcomes
        .await
        .into_iter()
        .map(|outcome| outcome.unwrap())
        .filter(|number| number % 4 != 0)
        .map(|number| format!("instance-{number}"))
        .collect();
    let left = open(&dir).await.instances(id);
    assert!(left.iter().all(|kept| kept.logged_out));
    let mut left: Vec<String> = left.iter().map(|kept| kept.name.to_string()).collect();
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn a_running_server_notices_what_the_command_line_does() {
    let (_temporary, dir) = data_dir();
    let server = Arc::new(open(&dir).await);
    let (acme, old) = account(&*server, "acme", None).await;
    let (one, _) = instance(&*server, &acme, "one").await;
    let follower = server.follow();
    let mut changes = server.changes();
    let noticed = async |changes: &mut tokio::sync::watch::Receiver<u64>| {
        // The promise is a second; a busy machine may be late.
        timeout(Duration::from_secs(20), changes.changed())
            .await
            .expect("in time")
            .unwrap();
    };

    let command_line = Store::open(&dir, presence_store::KeySource::Absent)
        .await
        .unwrap();
    let new = command_line.rotate_account(acme.id).await.unwrap().unwrap();
    noticed(&mut changes).await;
    assert!(server.authenticate(old.expose()).is_none());
    assert!(server.authenticate(new.expose()).is_some());

    command_line.delete_account(acme.id).await.unwrap();
    noticed(&mut changes).await;
    assert!(server.instance_by_id(one.id).is_none());
    assert!(server.all_instances().is_empty());

    drop(server);
    follower.await.unwrap();
}

#[tokio::test]
async fn a_writer_given_up_halfway_leaves_all_or_nothing() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (owner, _) = account(&store, "acme", None).await;
    let mut finished = 0;
    for patience in 0..70 {
        let name = format!("instance-{patience}");
        let mut polls = 0;
        let outcome = {
            let mut writer = pin!(store.create_instance(owner.id, new_instance(&name)));
            poll_fn(|context| {
                polls += 1;
                if polls > patience {
                    Poll::Ready(None)
                } else {
                    writer.as_mut().poll(context).map(Some)
                }
            })
            .await
        };
        // Whoever comes next, on this handle or another, finds the same, and can go on.
        store.refresh().await.unwrap();
        assert_eq!(view(&store), view(&open(&dir).await), "after {patience} polls");
        let (next, _) = instance(&store, &owner, &format!("next-{patience}")).await;
        store.delete_instance(next.id).await.unwrap();
        match outcome {
            Some(made) => {
                assert_eq!(store.instance(owner.id, &name).unwrap().id, made.unwrap().0.id);
                finished += 1;
            }
            None => assert!(patience < 60, "a writer needs more than {patience} polls"),
        }
    }
    assert!(finished > 0);
}
