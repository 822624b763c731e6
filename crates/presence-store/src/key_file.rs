//! The file `token.key`, and the one that is to take its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::files;
use crate::key::TokenKey;

/// `token.key`, and beside it `token.key.new` while the key is changed. Whichever of the two made the check
/// value in the registry is the key; so a crash at any moment leaves one that opens the tokens.
#[derive(Debug)]
pub(crate) struct KeyFile {
    current: PathBuf,
    next: PathBuf,
}

impl KeyFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        let mut next = path.clone().into_os_string();
        next.push(".new");
        Self {
            current: path,
            next: next.into(),
        }
    }

    /// The key that made `check_value`; a new one where there is neither. Ends a change of the key that was
    /// cut off after the tokens were sealed anew.
    pub(crate) fn open(&self, check_value: Option<&[u8]>) -> Result<TokenKey, StoreError> {
        let current = read(&self.current)?;
        let Some(check_value) = check_value else {
            return current.map_or_else(|| self.create(), Ok);
        };
        // A new key would open none of the tokens that are there.
        let refusal = match current {
            Some(key) if key.matches(check_value) => return Ok(key),
            Some(_) => StoreError::WrongKey,
            None => StoreError::MissingKey,
        };
        match read(&self.next)? {
            Some(key) if key.matches(check_value) => {
                self.promote_next()?;
                Ok(key)
            }
            _ => Err(refusal),
        }
    }

    /// The key that is to come, if one was written down.
    pub(crate) fn next(&self) -> Result<Option<TokenKey>, StoreError> {
        read(&self.next)
    }

    /// Writes `key` down as the one that is to come.
    pub(crate) fn write_next(&self, key: &TokenKey) -> Result<(), StoreError> {
        let failed = |source| StoreError::File {
            doing: "write token.key.new",
            source,
        };
        // Nothing is sealed with one that is there, see `key_rotation`.
        match fs::remove_file(&self.next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        match files::publish_private(&self.next, encoded(key).as_bytes()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(io::ErrorKind::AlreadyExists.into())),
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes the key that is to come the current one.
    pub(crate) fn promote_next(&self) -> Result<(), StoreError> {
        match files::rename(&self.next, &self.current) {
            // Another process that found the same was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.current.exists() => Ok(()),
            renamed => renamed.map_err(|source| StoreError::File {
                doing: "replace token.key by token.key.new",
                source,
            }),
        }
    }

    /// Writes a new key, or reads the one that another process wrote first.
    fn create(&self) -> Result<TokenKey, StoreError> {
        let key = TokenKey::generate()?;
        match files::publish_private(&self.current, encoded(&key).as_bytes()) {
            Ok(true) => Ok(key),
            Ok(false) => read(&self.current)?.ok_or(StoreError::MissingKey),
            Err(source) => Err(StoreError::File {
                doing: "create token.key",
                source,
            }),
        }
    }
}

/// The key in the file at `path`; `None` when there is no such file.
fn read(path: &Path) -> Result<Option<TokenKey>, StoreError> {
    let failed = |source| StoreError::File {
        doing: "read token.key",
        source,
    };
    match keep_secret(path) {
        Ok(true) => {}
        Ok(false) => return Err(StoreError::ExposedKey),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(failed)?;
    TokenKey::from_base64(&text)
        .map(Some)
        .map_err(StoreError::InvalidKey)
}

fn encoded(key: &TokenKey) -> Zeroizing<String> {
    let mut text = key.to_base64();
    text.push('\n');
    text
}

/// Makes sure that only its owner may read the file at `path`. `false` when that is not ours to do.
#[cfg(unix)]
fn keep_secret(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        // A pipe would keep who reads it waiting for a writer.
        return Err(io::Error::other("it is no file"));
    }
    let me = rustix::process::geteuid().as_raw();
    match remedy(metadata.mode(), metadata.uid(), me, path.is_symlink()) {
        Remedy::None => Ok(true),
        Remedy::Refuse => Ok(false),
        Remedy::Repair => {
            files::make_private(path)?;
            tracing::warn!(
                "others could read the token key; its mode is 0600 now. If somebody has, change it with \
                 `presence-server key rotate`"
            );
            Ok(true)
        }
    }
}

#[cfg(not(unix))]
fn keep_secret(path: &Path) -> io::Result<bool> {
    fs::metadata(path).map(|_| true)
}

/// What a secret file's rights call for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    None,
    Repair,
    Refuse,
}

/// `mode` and `owner` are the file's, `me` is the user that this process acts as, `linked` is whether the file is
/// reached by a symbolic link: then it may be anybody's, and for anything.
#[cfg(unix)]
fn remedy(mode: u32, owner: u32, me: u32, linked: bool) -> Remedy {
    const ROOT: u32 = 0;
    if mode & 0o077 == 0 {
        Remedy::None
    } else if !linked && (owner == me || me == ROOT) {
        Remedy::Repair
    } else {
        Remedy::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn rights_of_others_are_taken_back_by_who_may_and_refused_else() {
        let rows = [
            (0o100_600, 7, 7, false, Remedy::None),
            (0o100_400, 7, 7, false, Remedy::None),
            (0o100_600, 8, 7, false, Remedy::None),
            (0o100_600, 7, 7, true, Remedy::None),
            (0o100_640, 7, 7, false, Remedy::Repair),
            (0o100_604, 7, 7, false, Remedy::Repair),
            (0o100_610, 7, 7, false, Remedy::Repair),
            (0o100_644, 7, 0, false, Remedy::Repair),
            (0o100_644, 7, 7, true, Remedy::Refuse),
            (0o100_644, 0, 0, true, Remedy::Refuse),
            (0o100_644, 8, 7, false, Remedy::Refuse),
            (0o100_440, 0, 7, false, Remedy::Refuse),
        ];
        for (mode, owner, me, linked, expected) in rows {
            assert_eq!(
                remedy(mode, owner, me, linked),
                expected,
                "{mode:o} of {owner} for {me}, by a link: {linked}"
            );
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_a_link_leads_to_keeps_its_rights() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let (dir, file) = key_file();
        let elsewhere = dir.path().join("passwd");
        std::fs::write(&elsewhere, "root:x:0:0").unwrap();
        std::fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&elsewhere, &file.current).unwrap();
        assert!(matches!(file.open(None), Err(StoreError::ExposedKey)));
        assert_eq!(elsewhere.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    #[cfg(unix)]
    fn nobody_waits_for_a_pipe_to_be_written_to() {
        let (_dir, file) = key_file();
        let made = std::process::Command::new("mkfifo").arg(&file.current).status();
        assert!(made.unwrap().success());
        assert_eq!(file.open(None).unwrap_err().to_string(), "cannot read token.key");
    }

    fn key_file() -> (tempfile::TempDir, KeyFile) {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("token.key"));
        (dir, file)
    }

    #[test]
    fn of_two_processes_that_create_the_key_the_first_wins() {
        let (_dir, file) = key_file();
        let [one, other] = [(); 2].map(|()| file.create().unwrap());
        assert!(other.matches(&one.check_value().unwrap()));
    }

    #[test]
    fn of_two_processes_that_end_a_change_both_succeed() {
        let (_dir, file) = key_file();
        assert!(file.promote_next().is_err(), "there is no key at all");
        let key = TokenKey::generate().unwrap();
        for _ in 0..2 {
            file.write_next(&TokenKey::generate().unwrap()).unwrap();
        }
        file.write_next(&key).unwrap();
        for _ in 0..2 {
            file.promote_next().unwrap();
        }
        let check = key.check_value().unwrap();
        assert!(file.open(Some(&check)).unwrap().matches(&check));
    }

    #[test]
    fn what_is_no_file_is_an_error_that_says_so() {
        let (dir, file) = key_file();
        std::fs::create_dir(&file.current).unwrap();
        let refused = file.open(None).unwrap_err().to_string();
        assert_eq!(refused, "cannot read token.key");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let below = KeyFile::new(dir.path().join("file/token.key"));
        assert_eq!(below.open(None).unwrap_err().to_string(), "cannot read token.key");
    }

    #[test]
    fn the_key_that_is_to_come_counts_only_where_tokens_are_sealed_with_it() {
        let (_dir, file) = key_file();
        let [current, next, other] = [(); 3].map(|()| TokenKey::generate().unwrap());
        let check = |key: &TokenKey| key.check_value().unwrap();
        file.write_next(&current).unwrap();
        file.promote_next().unwrap();
        file.write_next(&next).unwrap();
        assert!(
            file.open(Some(&check(&current)))
                .unwrap()
                .matches(&check(&current))
        );
        assert!(file.next.exists(), "it may be needed yet");
        assert!(matches!(
            file.open(Some(&check(&other))),
            Err(StoreError::WrongKey)
        ));
        assert!(file.open(Some(&check(&next))).unwrap().matches(&check(&next)));
        assert!(!file.next.exists());
        std::fs::remove_file(&file.current).unwrap();
        assert!(matches!(
            file.open(Some(&check(&next))),
            Err(StoreError::MissingKey)
        ));
    }
}
