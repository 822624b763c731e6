//! The disk that forgets, mounted: the kernel's side of it, through FUSE.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rand::rngs::StdRng;

use super::content::Cut;
use super::disk::{DIRECTORY, Disk};

/// The kernel need not ask again: nobody but it changes anything.
const ALWAYS: Duration = Duration::from_secs(60 * 60 * 24);

/// A disk where it is mounted, until this is dropped.
pub(super) struct Mounted {
    at: PathBuf,
    disk: Arc<Mutex<Disk>>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// Mounts an empty disk at `at`.
    pub(super) fn empty(at: &Path) -> anyhow::Result<Self> {
        let mut mounted = Self {
            at: at.to_owned(),
            disk: Arc::default(),
            session: None,
        };
        mounted.mount(Disk::default())?;
        Ok(mounted)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// Looks at it as it is.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Disk) -> T) -> T {
        look(&lock(&self.disk))
    }

    /// Cuts its power, and mounts what is left. Nobody has a file of it open any more.
    pub(super) fn cut(&mut self, cut: Cut, rng: &mut StdRng) -> anyhow::Result<()> {
        // What the kernel still has of mapped memory goes nowhere: the old mount has an empty disk from here on.
        let disk = std::mem::take(&mut *lock(&self.disk));
        if let Some(session) = self.session.take() {
            session
                .umount_and_join()
                .context("the disk cannot be unmounted")?;
        }
        self.mount(disk.cut(cut, rng))
    }

    fn mount(&mut self, disk: Disk) -> anyhow::Result<()> {
        self.disk = Arc::new(Mutex::new(disk));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgets".to_owned())];
        let served = Served(Arc::clone(&self.disk));
        let session = fuser::spawn_mount(served, &self.at, &config);
        self.session = Some(session.context("a FUSE file system cannot be mounted")?);
        Ok(())
    }
}

/// Answers the kernel.
struct Served(Arc<Mutex<Disk>>);

impl Served {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.0)
    }

    /// What the kernel is told of a file or the directory.
    fn attributes(disk: &Disk, number: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = if number.0 == DIRECTORY {
            (FileType::Directory, 0o700, 0)
        } else {
            let file = disk.file(number.0)?;
            (FileType::RegularFile, file.mode, file.bytes().len() as u64)
        };
        let nlink = disk.names().values().filter(|file| **file == number.0).count();
        Some(FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            // Nobody here asks when.
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind,
            perm,
            nlink: nlink.max(1) as u32,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        let found = disk
            .find(name)
            .and_then(|file| Self::attributes(&disk, INodeNo(file)));
        match found {
            Some(attributes) => reply.entry(&ALWAYS, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match Self::attributes(&self.disk(), number) {
            Some(attributes) => reply.attr(&ALWAYS, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if let Some(file) = self.disk().file_mut(number.0) {
            if let Some(size) = size {
                file.resize(size as usize);
            }
            if let Some(mode) = mode {
                file.mode = permissions(mode);
            }
        }
        self.getattr(request, number, handle, reply);
    }

    fn create(&self, _: &Request, _: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut disk = self.disk();
        let number = disk.create(name, permissions(mode));
        match Self::attributes(&disk, INodeNo(number)) {
            Some(attributes) => reply.created(
                &ALWAYS,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            None => reply.error(Errno::EIO),
        }
    }

    fn link(&self, _: &Request, number: INodeNo, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut disk = self.disk();
        disk.link(number.0, name);
        match Self::attributes(&disk, number) {
            Some(attributes) => reply.entry(&ALWAYS, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.disk().unlink(name);
        reply.ok();
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        from: &OsStr,
        _: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        self.disk().rename(from, to);
        reply.ok();
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Memory that somebody has mapped stays what it is when another one opens the file.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        at: u64,
        count: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.disk().file(number.0) {
            Some(file) => reply.data(file.read(at as usize, count as usize)),
            None => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk().file_mut(number.0) {
            Some(file) => {
                file.write(at as usize, bytes);
                reply.written(bytes.len() as u32);
            }
            None => reply.error(Errno::EIO),
        }
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.disk().file_mut(number.0) {
            Some(file) => {
                file.sync();
                reply.ok();
            }
            None => reply.error(Errno::EIO),
        }
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.disk().sync_names();
        reply.ok();
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, after: u64, mut reply: ReplyDirectory) {
        let disk = self.disk();
        // An entry is left out that comes while somebody reads, and has a place before where they are: as anywhere.
        for (place, (name, number)) in (1..).zip(disk.names()).skip(after as usize) {
            if reply.add(INodeNo(*number), place, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// The bits that say who may do what.
fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

/// A disk is never left half changed, so a poisoned lock guards a good one.
fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}
