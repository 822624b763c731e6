//! What is on disk: who may read it, what a crash leaves, which key opens it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use presence_store::{DataDir, KeyChange, KeySource, Registry, Store, StoreError, TokenKey};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{account, data_dir, instance, open, view};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn key(byte: u8) -> TokenKey {
    use base64::Engine as _;
    TokenKey::from_base64(&base64::engine::general_purpose::STANDARD.encode([byte; 32])).unwrap()
}

async fn execute(dir: &DataDir, sql: &'static str) {
    let url = format!("sqlite://{}", dir.path().join("presence.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn nobody_else_may_read_anything() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    account(&store, "acme", None).await;
    let lock = dir.lock().unwrap();
    let _keys = dir.open_keys(&lock, &store).await.unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    let files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut names: Vec<_> = files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "keys.db",
            "keys.db-shm",
            "keys.db-wal",
            "lock",
            "presence.db",
            "presence.db-shm",
            "presence.db-wal",
            "token.key"
        ]
    );
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn rights_that_others_were_given_are_taken_back() {
    let (_temporary, dir) = data_dir();
    drop(open(&dir).await);
    let database = dir.path().join("presence.db");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&dir).await);
    assert_eq!(mode(&database), 0o600);
}

#[tokio::test]
async fn no_file_holds_a_token() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, first) = account(&store, "acme", None).await;
    let (_, second) = instance(&store, &acme, "one").await;
    let third = store.rotate_account(acme.id).await.unwrap().unwrap();
    for file in fs::read_dir(dir.path()).unwrap() {
        let content = fs::read(file.unwrap().path()).unwrap();
        for token in [&first, &second, &third] {
            let token = token.expose().as_bytes();
            assert!(!content.windows(token.len()).any(|window| window == token));
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_moment_loses_nothing_acknowledged() {
    let (_temporary, dir) = data_dir();
    let (store, crashed) = (open(&dir).await, tempfile::tempdir().unwrap());
    let (acme, _) = account(&store, "acme", None).await;
    for number in 0..5 {
        let (made, _) = instance(&store, &acme, &format!("instance-{number}")).await;
        store.set_logged_out(made.id, number % 2 == 0).await.unwrap();
        // What is on disk now is what a killed process leaves: the store is open, nothing was tidied up.
        let image = DataDir::open(crashed.path().join(number.to_string())).unwrap();
        for file in ["presence.db", "presence.db-wal", "token.key"] {
            fs::copy(dir.path().join(file), image.path().join(file)).unwrap();
        }
        assert_eq!(view(&open(&image).await), view(&store));
    }
}

#[tokio::test]
async fn a_number_is_never_given_again_after_a_restart() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let (old, _) = instance(&store, &acme, "one").await;
    store.delete_account(acme.id).await.unwrap();
    drop(store);
    let store = open(&dir).await;
    let (again, _) = account(&store, "acme", None).await;
    let (new, _) = instance(&store, &again, "one").await;
    assert!(again.id > acme.id);
    assert!(new.id > old.id);
}

#[tokio::test]
async fn a_token_key_file_is_made_once() {
    let (_temporary, dir) = data_dir();
    drop(open(&dir).await);
    let made = fs::read(dir.path().join("token.key")).unwrap();
    drop(open(&dir).await);
    assert_eq!(fs::read(dir.path().join("token.key")).unwrap(), made);
}

#[tokio::test]
async fn another_token_key_is_refused_at_once() {
    let (_temporary, dir) = data_dir();
    let store = Store::open(&dir, KeySource::Given(key(1))).await.unwrap();
    let (acme, _) = account(&store, "acme", None).await;
    let (one, token) = instance(&store, &acme, "one").await;
    assert!(
        !dir.path().join("token.key").exists(),
        "a given key is not written down"
    );
    drop(store);

    assert!(matches!(
        Store::open(&dir, KeySource::Given(key(2))).await,
        Err(StoreError::WrongKey)
    ));
    assert!(matches!(
        Store::open(&dir, KeySource::File).await,
        Err(StoreError::MissingKey)
    ));
    assert!(
        !dir.path().join("token.key").exists(),
        "no useless key is left behind"
    );
    let store = Store::open(&dir, KeySource::Given(key(1))).await.unwrap();
    assert_eq!(store.instance_token(&one).unwrap(), token);
}

#[tokio::test]
async fn a_damaged_token_key_file_is_refused() {
    let (_temporary, dir) = data_dir();
    drop(open(&dir).await);
    fs::write(dir.path().join("token.key"), "c2hvcnQ=\n").unwrap();
    assert!(matches!(
        Store::open(&dir, KeySource::File).await,
        Err(StoreError::InvalidKey(_))
    ));
}

#[tokio::test]
async fn accounts_are_managed_without_a_token_key() {
    let (_temporary, dir) = data_dir();
    let command_line = Store::open(&dir, KeySource::Absent).await.unwrap();
    let (acme, token) = account(&command_line, "acme", None).await;
    let refused = command_line
        .create_instance(acme.id, crate::support::new_instance("one"))
        .await;
    assert!(matches!(
        refused,
        Err(presence_store::CreateInstanceError::Store(StoreError::NoKey))
    ));
    assert!(!dir.path().join("token.key").exists());

    let server = open(&dir).await;
    assert!(server.authenticate(token.expose()).is_some());
    let (one, _) = instance(&server, &acme, "one").await;
    assert!(matches!(
        command_line.instance_token(&one),
        Err(StoreError::NoKey)
    ));
}

#[tokio::test]
async fn sealed_tokens_cannot_change_places() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let (one, _) = instance(&store, &acme, "one").await;
    instance(&store, &acme, "two").await;
    execute(
        &dir,
        "UPDATE instance SET sealed_token = (SELECT sealed_token FROM instance WHERE name = 'two')",
    )
    .await;
    store.refresh().await.unwrap();
    let swapped = store.instance_by_id(one.id).unwrap();
    assert!(matches!(
        store.instance_token(&swapped),
        Err(StoreError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let (_temporary, dir) = data_dir();
    drop(open(&dir).await);
    execute(&dir, "PRAGMA user_version = 99").await;
    assert!(matches!(
        Store::open(&dir, KeySource::File).await,
        Err(StoreError::Newer { found: 99, known: 4 })
    ));
}

#[tokio::test]
async fn what_this_service_never_writes_is_an_error() {
    for sql in [
        "UPDATE account SET name = 'no name'",
        "UPDATE account SET created_at = 9223372036854775807",
        "UPDATE instance SET name = ''",
        "INSERT INTO meta VALUES ('edge', x'00')",
    ] {
        let (_temporary, dir) = data_dir();
        let store = open(&dir).await;
        let (acme, token) = account(&store, "acme", None).await;
        instance(&store, &acme, "one").await;
        execute(&dir, sql).await;
        assert!(
            matches!(store.refresh().await, Err(StoreError::Corrupt { .. })),
            "{sql}"
        );
        assert!(
            store.authenticate(token.expose()).is_some(),
            "what was read before stays: {sql}"
        );
        assert!(
            matches!(
                Store::open(&dir, KeySource::File).await,
                Err(StoreError::Corrupt { .. })
            ),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let (_temporary, dir) = data_dir();
    fs::write(
        dir.path().join("presence.db"),
        "certainly not a database ".repeat(100),
    )
    .unwrap();
    assert!(matches!(
        Store::open(&dir, KeySource::File).await,
        Err(StoreError::Database { .. })
    ));
}

#[tokio::test]
async fn a_locked_database_is_an_error_after_a_while_and_then_works_again() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let url = format!("sqlite://{}", dir.path().join("presence.db").display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    let hold = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let refused = store
        .create_account("acme".parse().unwrap(), None, crate::support::now())
        .await;
    assert!(matches!(
        refused,
        Err(presence_store::CreateAccountError::Store(StoreError::Busy { .. }))
    ));
    hold.rollback().await.unwrap();
    account(&store, "acme", None).await;
}

#[tokio::test]
async fn a_token_key_that_others_may_read_is_taken_back() {
    let (_temporary, dir) = data_dir();
    drop(open(&dir).await);
    let key = dir.path().join("token.key");
    assert_eq!(mode(&key), 0o600);
    for given_away in [0o644, 0o640, 0o604] {
        fs::set_permissions(&key, fs::Permissions::from_mode(given_away)).unwrap();
        drop(open(&dir).await);
        assert_eq!(mode(&key), 0o600, "{given_away:o}");
    }
    // Rights that its owner took from themselves are theirs.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    drop(open(&dir).await);
    assert_eq!(mode(&key), 0o400);
}

#[tokio::test]
async fn the_token_key_can_be_changed() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    let (one, token) = instance(&store, &acme, "one").await;
    instance(&store, &acme, "two").await;
    store.close().await.unwrap();
    let file = dir.path().join("token.key");
    let old = fs::read(&file).unwrap();
    execute(
        &dir,
        "UPDATE instance SET sealed_token = x'00' WHERE name = 'two'",
    )
    .await;

    let lock = dir.lock().unwrap();
    let resealed = dir.rotate_token_key(&lock, KeyChange::File).await.unwrap();
    assert_eq!((resealed.tokens, resealed.unreadable), (1, 1));
    assert_ne!(fs::read(&file).unwrap(), old);
    assert_eq!(mode(&file), 0o600);
    assert!(!dir.path().join("token.key.new").exists());
    let store = open(&dir).await;
    assert_eq!(
        store
            .instance_token(&store.instance_by_id(one.id).unwrap())
            .unwrap(),
        token
    );
    assert!(store.authenticate(token.expose()).is_some());
    let lost = store.instance(acme.id, "two").unwrap();
    assert!(matches!(
        store.instance_token(&lost),
        Err(StoreError::Corrupt { .. })
    ));
    store.close().await.unwrap();

    fs::write(&file, &old).unwrap();
    assert!(matches!(
        Store::open(&dir, KeySource::File).await,
        Err(StoreError::WrongKey)
    ));
}

#[tokio::test]
async fn a_token_key_that_is_kept_elsewhere_can_be_changed() {
    let (_temporary, dir) = data_dir();
    let store = Store::open(&dir, KeySource::Given(key(1))).await.unwrap();
    let (acme, _) = account(&store, "acme", None).await;
    let (one, token) = instance(&store, &acme, "one").await;
    store.close().await.unwrap();
    let lock = dir.lock().unwrap();
    let change = |old, new| KeyChange::Given {
        old: key(old),
        new: key(new),
    };
    let refused = dir.rotate_token_key(&lock, change(2, 3)).await;
    assert!(matches!(refused, Err(StoreError::WrongKey)));
    let refused = dir.rotate_token_key(&lock, KeyChange::File).await;
    assert!(matches!(refused, Err(StoreError::MissingKey)));
    dir.rotate_token_key(&lock, change(1, 2)).await.unwrap();
    assert!(matches!(
        Store::open(&dir, KeySource::Given(key(1))).await,
        Err(StoreError::WrongKey)
    ));
    let store = Store::open(&dir, KeySource::Given(key(2))).await.unwrap();
    assert_eq!(
        store
            .instance_token(&store.instance_by_id(one.id).unwrap())
            .unwrap(),
        token
    );
    assert!(!dir.path().join("token.key").exists());
}

#[tokio::test]
async fn a_key_can_be_changed_before_anything_is_sealed() {
    let (_temporary, dir) = data_dir();
    let lock = dir.lock().unwrap();
    for _ in 0..2 {
        let resealed = dir.rotate_token_key(&lock, KeyChange::File).await.unwrap();
        assert_eq!(resealed, Default::default());
    }
    let store = open(&dir).await;
    let (acme, _) = account(&store, "acme", None).await;
    instance(&store, &acme, "one").await;
}

#[tokio::test]
async fn other_processes_read_what_changed_and_everything_after_too_much() {
    let (_temporary, dir) = data_dir();
    let (writer, reader) = (open(&dir).await, open(&dir).await);
    let (acme, _) = account(&writer, "acme", None).await;
    let (one, _) = instance(&writer, &acme, "one").await;
    let (two, _) = instance(&writer, &acme, "two").await;
    reader.refresh().await.unwrap();
    let count = *reader.changes().borrow();
    let since = |count| {
        reader
            .changed_since(count)
            .map(|ids| ids.into_iter().collect::<Vec<_>>())
    };

    writer.set_logged_out(two.id, true).await.unwrap();
    reader.refresh().await.unwrap();
    assert_eq!(since(count), Some(vec![two.id]));
    // A name and a token that change hands are whose they are now.
    writer.delete_instance(one.id).await.unwrap();
    let token = Some(crate::support::parsed("0123456789abcdef"));
    let new = presence_store::NewInstance {
        token,
        ..crate::support::new_instance("one")
    };
    let (again, _) = writer.create_instance(acme.id, new).await.unwrap();
    writer.delete_account(acme.id).await.unwrap();
    let (acme, _) = account(&writer, "acme", None).await;
    let (last, token) = instance(&writer, &acme, "one").await;
    reader.refresh().await.unwrap();
    assert_eq!(since(count), Some(vec![one.id, two.id, again.id, last.id]));
    assert_eq!(view(&reader), view(&open(&dir).await));
    assert!(reader.authenticate(token.expose()).is_some());
    assert!(reader.authenticate("0123456789abcdef").is_none());
    writer.check().await.unwrap();
    let before = *reader.changes().borrow();
    reader.refresh().await.unwrap();
    assert_eq!(*reader.changes().borrow(), before, "a check is no change");

    execute(
        &dir,
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500)
         INSERT INTO change (account_id) SELECT 99 FROM n",
    )
    .await;
    writer.set_keep_online(last.id, true).await.unwrap();
    reader.refresh().await.unwrap();
    assert_eq!(since(before), None);
    assert_eq!(view(&reader), view(&writer));
    assert!(reader.instance_by_id(last.id).unwrap().keep_online);

    // As when the file was exchanged: what is told no longer fits what was read.
    execute(&dir, "UPDATE instance SET keep_online = 0; DELETE FROM change").await;
    reader.refresh().await.unwrap();
    assert!(!reader.instance_by_id(last.id).unwrap().keep_online);
}

#[test]
fn each_edge_has_a_name() {
    use presence_store::Edge;
    let names = [Edge::WhatsApp, Edge::Sandbox].map(|edge| edge.to_string());
    assert_eq!(names, ["the real WhatsApp", "a sandbox"]);
}

#[tokio::test]
async fn the_changes_that_are_kept_are_bounded() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    account(&store, "acme", None).await;
    execute(
        &dir,
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000)
         INSERT INTO change (account_id) SELECT 99 FROM n",
    )
    .await;
    let url = format!("sqlite://{}", dir.path().join("presence.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM change")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 1000);
}

#[tokio::test]
async fn a_registry_that_cannot_be_written_is_not_well() {
    let (_temporary, dir) = data_dir();
    let store = open(&dir).await;
    store.check().await.unwrap();
    let url = format!("sqlite://{}", dir.path().join("presence.db").display());
    let mut other = SqliteConnection::connect(&url).await.unwrap();
    let hold = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    store.refresh().await.expect("it can be read");
    assert!(matches!(store.check().await, Err(StoreError::Busy { .. })));
    hold.rollback().await.unwrap();
    store.check().await.unwrap();
}
