//! A disk that forgets: a file system of one directory that knows what a power cut would leave of it.
//!
//! A file's bytes are durable when the file is synced, and its name when the directory is, as POSIX has it and no more
//! than that. Rights are durable at once, since nobody here depends on them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use rand::RngExt;
use rand::rngs::StdRng;

use super::cached::{Cached, Change};
use super::content::{Content, Cut, Edit};

/// Which file, whatever it is called.
pub(super) type FileNumber = u64;
/// The directory's number, as FUSE has it; files' are greater.
pub(super) const DIRECTORY: FileNumber = 1;

/// Files, and what they are called.
#[derive(Debug)]
pub(super) struct Disk {
    names: Cached<Names, Naming>,
    /// Also those without a name: somebody may still have them open, or a cut bring the name back.
    files: BTreeMap<FileNumber, File>,
    next: FileNumber,
}

pub(super) type Names = BTreeMap<OsString, FileNumber>;

/// A file.
#[derive(Debug)]
pub(super) struct File {
    content: Content,
    /// The bits of its rights.
    pub(super) mode: u16,
}

/// A change of what files are called.
#[derive(Debug)]
enum Naming {
    Link(OsString, FileNumber),
    Unlink(OsString),
    Rename(OsString, OsString),
}

impl Change<Names> for Naming {
    fn apply(&self, to: &mut Names) {
        match self {
            Self::Link(name, file) => {
                to.insert(name.clone(), *file);
            }
            Self::Unlink(name) => {
                to.remove(name);
            }
            Self::Rename(from, name) => {
                if let Some(file) = to.remove(from) {
                    to.insert(name.clone(), file);
                }
            }
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            names: Cached::durable(Names::new()),
            files: BTreeMap::new(),
            next: DIRECTORY + 1,
        }
    }
}

impl Disk {
    pub(super) fn names(&self) -> &Names {
        self.names.now()
    }

    pub(super) fn find(&self, name: &OsStr) -> Option<FileNumber> {
        self.names().get(name).copied()
    }

    pub(super) fn file(&self, number: FileNumber) -> Option<&File> {
        self.files.get(&number)
    }

    pub(super) fn file_mut(&mut self, number: FileNumber) -> Option<&mut File> {
        self.files.get_mut(&number)
    }

    /// A new file of this name, which is free.
    pub(super) fn create(&mut self, name: &OsStr, mode: u16) -> FileNumber {
        let number = self.next;
        self.next += 1;
        let content = Content::durable(Vec::new());
        self.files.insert(number, File { content, mode });
        self.link(number, name);
        number
    }

    pub(super) fn link(&mut self, number: FileNumber, name: &OsStr) {
        self.names.change(Naming::Link(name.to_owned(), number));
    }

    pub(super) fn unlink(&mut self, name: &OsStr) {
        self.names.change(Naming::Unlink(name.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &OsStr, to: &OsStr) {
        self.names.change(Naming::Rename(from.to_owned(), to.to_owned()));
    }

    /// Makes all names durable.
    pub(super) fn sync_names(&mut self) {
        self.names.sync();
    }

    /// How many changes a power cut may take away.
    pub(super) fn unsynced(&self) -> usize {
        let of_files = self.files.values().map(|file| file.content.unsynced());
        self.names.unsynced() + of_files.sum::<usize>()
    }

    /// What a power cut leaves of it, all of which is durable then.
    pub(super) fn cut(self, cut: Cut, rng: &mut StdRng) -> Self {
        let (mut names, namings) = self.names.into_parts();
        // A directory is changed in order.
        let kept = namings.iter().take_while(|_| rng.random_bool(cut.kept));
        kept.for_each(|naming| naming.apply(&mut names));
        let files = self.files.into_iter();
        let named = files.filter(|(number, _)| names.values().any(|named| named == number));
        let left = |(number, file): (FileNumber, File)| {
            let content = Content::durable(cut.left_of(file.content, rng));
            (number, File { content, ..file })
        };
        Self {
            files: named.map(left).collect(),
            names: Cached::durable(names),
            next: self.next,
        }
    }
}

impl File {
    pub(super) fn bytes(&self) -> &[u8] {
        self.content.now()
    }

    /// Its bytes from `at` on, `count` at most.
    pub(super) fn read(&self, at: usize, count: usize) -> &[u8] {
        let bytes = self.bytes();
        let from = at.min(bytes.len());
        &bytes[from..at.saturating_add(count).clamp(from, bytes.len())]
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.content.change(Edit::Write { at, bytes });
    }

    pub(super) fn resize(&mut self, length: usize) {
        self.content.change(Edit::Resize(length));
    }

    /// Makes its bytes durable.
    pub(super) fn sync(&mut self) {
        self.content.sync();
    }
}

#[cfg(test)]
mod tests {
    //! What is left of names and files, by example.

    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    const NOTHING: Cut = Cut {
        sector: 512,
        kept: 0.0,
    };
    const SOME: Cut = Cut { kept: 0.5, ..NOTHING };

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    fn cut(disk: Disk) -> Disk {
        disk.cut(NOTHING, &mut StdRng::seed_from_u64(1))
    }

    #[test]
    fn a_file_needs_its_name_and_its_bytes_synced() {
        let mut disk = Disk::default();
        for (file, bytes_too) in [("whole", true), ("hollow", false)] {
            let number = disk.create(name(file), 0o600);
            let file = disk.file_mut(number).unwrap();
            file.write(0, b"bytes");
            if bytes_too {
                file.sync();
            }
        }
        disk.sync_names();
        let nameless = disk.create(name("nameless"), 0o600);
        disk.file_mut(nameless).unwrap().sync();

        let left = cut(disk);
        let bytes = |file| left.find(name(file)).map(|file| left.file(file).unwrap().bytes());
        assert_eq!(bytes("whole"), Some(&b"bytes"[..]));
        assert_eq!(bytes("hollow"), Some(&b""[..]));
        assert_eq!(bytes("nameless"), None);
        assert!(left.file(nameless).is_none());
    }

    #[test]
    fn a_removed_file_is_back_unless_the_directory_was_synced() {
        let mut disk = Disk::default();
        let number = disk.create(name("log"), 0o600);
        disk.file_mut(number).unwrap().write(0, b"old");
        disk.file_mut(number).unwrap().sync();
        disk.sync_names();
        disk.unlink(name("log"));
        assert_eq!(disk.find(name("log")), None);

        let mut disk = cut(disk);
        assert_eq!(
            disk.file(disk.find(name("log")).unwrap()).unwrap().bytes(),
            b"old"
        );
        disk.unlink(name("log"));
        disk.sync_names();
        assert_eq!(cut(disk).find(name("log")), None);
    }

    #[test]
    fn names_change_in_order_and_a_renamed_file_never_has_none() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let mut disk = Disk::default();
            let old = disk.create(name("key"), 0o600);
            disk.sync_names();
            let new = disk.create(name("key.new"), 0o600);
            disk.rename(name("key.new"), name("key"));
            assert_eq!(disk.find(name("key")), Some(new));
            let left = disk.cut(SOME, &mut StdRng::seed_from_u64(seed));
            seen.insert((
                left.find(name("key")) == Some(old),
                left.find(name("key.new")).is_some(),
            ));
        }
        assert_eq!(seen, [(true, false), (true, true), (false, false)].into());
    }

    #[test]
    fn reading_ends_with_the_file() {
        let mut disk = Disk::default();
        let number = disk.create(name("file"), 0o600);
        let file = disk.file_mut(number).unwrap();
        file.write(2, b"cd");
        file.resize(5);
        assert_eq!(file.read(1, 3), b"\0cd");
        assert_eq!(file.read(3, usize::MAX), b"d\0");
        assert_eq!(file.read(9, 1), b"");
    }
}
