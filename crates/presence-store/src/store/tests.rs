//! The store over backends that fail, lag or are written by others, as no file does on demand.

use std::collections::VecDeque;
use std::sync::Mutex as StdMutex;
use std::time::Duration;

use super::*;

/// What a scripted backend answers, in order; after that it keeps nothing, like the one in memory.
#[derive(Clone, Default)]
struct Script {
    refreshes: Answers<Refreshed>,
    appends: Answers<Appended>,
}

type Answers<T> = Arc<StdMutex<VecDeque<Result<T, StoreError>>>>;

#[async_trait]
impl Backend for Script {
    async fn refresh(&mut self) -> Result<Refreshed, StoreError> {
        let next = self.refreshes.lock().unwrap().pop_front();
        next.unwrap_or(Ok(Refreshed::Nothing))
    }

    async fn append(&mut self, _change: &Change) -> Result<Appended, StoreError> {
        self.appends
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Ok(Appended::Durable))
    }

    async fn deleted(&mut self) -> Result<BTreeSet<InstanceId>, StoreError> {
        Ok(BTreeSet::new())
    }

    async fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Script {
    fn next_refresh(&self, answer: Result<Refreshed, StoreError>) {
        self.refreshes.lock().unwrap().push_back(answer);
    }

    fn next_append(&self, answer: Result<Appended, StoreError>) {
        self.appends.lock().unwrap().push_back(answer);
    }

    fn store(&self) -> Store {
        Store::new(
            Directory::default(),
            Box::new(self.clone()),
            Some(TokenKey::generate().unwrap()),
            None,
        )
    }
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().unwrap()
}

fn database_error() -> StoreError {
    StoreError::Database {
        doing: "test",
        source: "the disk is full".into(),
    }
}

/// What `store` holds, as a backend tells it.
fn everything(store: &Store) -> Refreshed {
    Refreshed::Everything(Box::new(Directory::clone(&store.current.load())))
}

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

#[tokio::test]
async fn nobody_sees_a_change_that_is_not_durable() {
    let script = Script::default();
    let store = script.store();
    let (account, token) = store.create_account(name("acme"), None, NOW).await.unwrap();
    let seen = *store.changes().borrow();

    script.next_append(Err(database_error()));
    let refused = store.create_account(name("other"), None, NOW).await;
    assert!(matches!(
        refused,
        Err(CreateAccountError::Store(StoreError::Database { .. }))
    ));
    script.next_append(Err(database_error()));
    assert!(store.delete_account(account.id).await.is_err());

    assert_eq!(store.accounts().len(), 1);
    assert!(store.authenticate(token.expose()).is_some());
    assert_eq!(*store.changes().borrow(), seen);
}

#[tokio::test]
async fn a_change_that_another_process_overtook_is_decided_anew() {
    let script = Script::default();
    let store = script.store();
    let other = Store::in_memory().unwrap();
    let (theirs, _) = other.create_account(name("acme"), None, NOW).await.unwrap();

    // The name is free when it is looked at first, and taken when it is to be written.
    script.next_refresh(Ok(Refreshed::Nothing));
    script.next_append(Ok(Appended::Outdated));
    script.next_refresh(Ok(everything(&other)));
    let refused = store.create_account(name("acme"), None, NOW).await;
    assert!(matches!(refused, Err(CreateAccountError::NameTaken)));

    let (ours, _) = store.create_account(name("next"), None, NOW).await.unwrap();
    assert!(ours.id > theirs.id);
}

#[tokio::test]
async fn what_changes_nothing_is_not_written() {
    let script = Script::default();
    let store = script.store();
    let (account, _) = store.create_account(name("acme"), None, NOW).await.unwrap();
    let new = NewInstance {
        name: name("one"),
        token: None,
        keep_online: true,
        proxy: None,
        now: NOW,
    };
    let (instance, _) = store.create_instance(account.id, new).await.unwrap();
    store.pin_edge(Edge::Sandbox).await.unwrap();

    script.next_append(Err(database_error()));
    assert!(store.set_keep_online(instance.id, true).await.unwrap());
    assert!(store.set_logged_out(instance.id, false).await.unwrap());
    store.pin_edge(Edge::Sandbox).await.unwrap();
    assert!(
        store.set_keep_online(instance.id, false).await.is_err(),
        "this one is"
    );
}

#[tokio::test]
async fn no_number_is_given_after_the_last() {
    let store = Store::in_memory().unwrap();
    let (account, _) = store.create_account(name("acme"), None, NOW).await.unwrap();
    let mut full = Directory::clone(&store.current.load());
    full.never_again(0, i32::MAX);
    store.current.store(Arc::new(full));
    let new = NewInstance {
        name: name("one"),
        token: None,
        keep_online: false,
        proxy: None,
        now: NOW,
    };
    let refused = store.create_instance(account.id, new).await;
    assert!(matches!(
        refused,
        Err(CreateInstanceError::Store(StoreError::Exhausted))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_follower_outlives_failures_but_not_its_store() {
    let script = Script::default();
    let store = Arc::new(script.store());
    let other = Store::in_memory().unwrap();
    other.create_account(name("acme"), None, NOW).await.unwrap();
    let mut changes = store.changes();

    script.next_refresh(Err(database_error()));
    script.next_refresh(Err(database_error()));
    script.next_refresh(Ok(everything(&other)));
    let started = tokio::time::Instant::now();
    let follower = store.follow();
    changes.changed().await.unwrap();
    assert!(store.account_named("acme").is_some());
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(1),
        "two failures, and half a second after each"
    );

    drop(store);
    follower.await.unwrap();
}
