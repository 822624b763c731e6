//! A data directory that an older version made.

use presence_store::{DataDir, Registry};
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{account, data_dir, id, instance, keys, now, open, pair, view};

/// The first format, as version 0.1 made it, with what it kept: instances 1 to 4, of which 2 and 4 were
/// deleted, in account 1 of 2.
const FORMAT_1: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE account (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT    NOT NULL UNIQUE,
        token_hash BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
        quota      INTEGER CHECK (quota >= 0),
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE instance (
        id           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 2147483647),
        account_id   INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        name         TEXT    NOT NULL,
        token_hash   BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
        sealed_token BLOB    NOT NULL,
        keep_online  INTEGER NOT NULL CHECK (keep_online IN (0, 1)),
        logged_out   INTEGER NOT NULL CHECK (logged_out IN (0, 1)),
        created_at   INTEGER NOT NULL,
        UNIQUE (account_id, name)
    ) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    INSERT INTO account VALUES (1, 'acme', randomblob(32), 5, 1790000000123);
    INSERT INTO account VALUES (2, 'gone', randomblob(32), NULL, 1790000000123);
    DELETE FROM account WHERE id = 2;
    INSERT INTO instance VALUES (1, 1, 'one', randomblob(32), x'00', 1, 0, 1790000000124);
    INSERT INTO instance VALUES (2, 1, 'two', randomblob(32), x'00', 0, 0, 1790000000125);
    INSERT INTO instance VALUES (3, 1, 'three', randomblob(32), x'00', 0, 1, 1790000000126);
    INSERT INTO instance VALUES (4, 1, 'four', randomblob(32), x'00', 0, 0, 1790000000127);
    DELETE FROM instance WHERE id IN (2, 4);
    INSERT INTO meta VALUES ('edge', CAST('sandbox' AS BLOB));
";

async fn execute(dir: &DataDir, sql: &'static str) {
    let path = dir.path().join("presence.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn everything_that_an_older_version_kept_is_there() {
    let (_temporary, dir) = data_dir();
    execute(&dir, FORMAT_1).await;
    let store = open(&dir).await;
    let acme = store.account_named("acme").unwrap();
    assert_eq!(acme.quota, Some(5));
    assert_eq!(store.accounts().len(), 1);
    let kept: Vec<_> = store
        .all_instances()
        .iter()
        .map(|kept| {
            assert_eq!((kept.banned_until, kept.last_used), (None, None));
            (
                kept.id.get(),
                kept.name.to_string(),
                kept.keep_online,
                kept.logged_out,
            )
        })
        .collect();
    assert_eq!(
        kept,
        [
            (1, "one".to_owned(), true, false),
            (3, "three".to_owned(), false, true)
        ]
    );
    assert_eq!(store.edge(), Some(presence_store::Edge::Sandbox));
    assert_eq!(
        store.instances(acme.id)[0].created_at.timestamp_millis(),
        1_790_000_000_124
    );

    store.set_banned_until(id(1), Some(now())).await.unwrap();
    let (next, _) = instance(&store, &acme, "next").await;
    assert_eq!(next.id, id(5), "no number is given again");
    assert!(account(&store, "gone", None).await.0.id > acme.id);
    store.delete_instance(id(5)).await.unwrap();
    assert_eq!(store.deleted_unwiped(), [id(2), id(4), id(5)]);
}

#[tokio::test]
async fn what_an_older_version_deleted_is_remembered_and_what_it_never_had_is_not() {
    let (_temporary, dir) = data_dir();
    execute(&dir, FORMAT_1).await;
    let store = open(&dir).await;
    let keys = keys(&dir, &store).await;
    for number in [1, 2, 3, 4] {
        pair(&keys, number).await;
    }
    store.check_keys(&keys).await.expect("all of them are known");
    pair(&keys, 5).await;
    let refused = store.check_keys(&keys).await.unwrap_err().to_string();
    assert!(refused.contains("1 devices (5)"), "{refused}");
}

#[tokio::test]
async fn a_registry_without_instances_is_brought_up_to_date() {
    let (_temporary, dir) = data_dir();
    execute(&dir, FORMAT_1).await;
    execute(
        &dir,
        "DELETE FROM account; DELETE FROM instance; DELETE FROM sqlite_sequence",
    )
    .await;
    let store = open(&dir).await;
    assert!(store.deleted_unwiped().is_empty());
    let (acme, _) = account(&store, "acme", None).await;
    assert_eq!(instance(&store, &acme, "one").await.0.id, id(1));
    assert_eq!(view(&open(&dir).await), view(&store));
}
