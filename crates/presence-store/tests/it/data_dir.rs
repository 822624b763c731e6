//! The data directory and who may serve it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use presence_store::{DataDir, LockError};

use crate::support::{account, data_dir, open};

#[test]
fn a_directory_is_made_with_its_parents() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b/c");
    assert_eq!(DataDir::open(&path).unwrap().path(), path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_rights_of_a_directory_that_exists_are_its_owners_affair() {
    let temporary = tempfile::tempdir().unwrap();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    DataDir::open(temporary.path()).unwrap();
    assert_eq!(
        fs::metadata(temporary.path()).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[test]
fn a_file_is_no_directory() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(DataDir::open(&path).is_err());
    assert!(DataDir::open(path.join("below")).is_err());
}

#[tokio::test]
async fn one_server_at_a_time_locks_a_directory() {
    let (_temporary, dir) = data_dir();
    let lock = dir.lock().unwrap();
    let refused = DataDir::open(dir.path()).unwrap().lock().unwrap_err();
    assert!(matches!(&refused, LockError::Held { pid: Some(pid), .. } if *pid == std::process::id()));
    let expected = format!(
        "another server (process {}) runs on the data directory {}",
        std::process::id(),
        dir.path().display()
    );
    assert_eq!(refused.to_string(), expected);

    account(&open(&dir).await, "acme", None).await;
    drop(lock);
    let _again = dir.lock().unwrap();
}

#[test]
fn an_unreadable_holder_is_not_named() {
    let (_temporary, dir) = data_dir();
    let _lock = dir.lock().unwrap();
    fs::write(dir.path().join("lock"), "not a number").unwrap();
    let refused = dir.lock().unwrap_err().to_string();
    assert!(refused.starts_with("another server runs on"), "{refused}");
}
