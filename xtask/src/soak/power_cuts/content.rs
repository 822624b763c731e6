//! What is in a file: bytes, and what a cut leaves of changes to them.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;

use super::cached::{Cached, Change};

/// A file's bytes, on a disk with a cache.
pub(super) type Content = Cached<Vec<u8>, Edit>;

/// A change of a file's bytes.
#[derive(Debug)]
pub(super) enum Edit {
    Write { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

impl Change<Vec<u8>> for Edit {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write(to, *at, bytes),
            Self::Resize(length) => to.resize(*length, 0),
        }
    }
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

/// What a cut does to changes that were not synced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// How many bytes reach the disk together or not at all.
    pub(super) sector: usize,
    /// How likely a change had reached it all the same.
    pub(super) kept: f64,
}

impl Cut {
    /// One of those that happen: nothing at all was written but what had to be, or some, or nearly everything; by
    /// sectors of old disks or of new ones.
    pub(super) fn draw(rng: &mut StdRng) -> Self {
        Self {
            sector: [512, 4096][rng.random_range(0..2)],
            kept: [0.0, 0.5, 0.9][rng.random_range(0..3)],
        }
    }

    /// What is left of a file.
    ///
    /// A disk writes sectors in any order, and each as it was at one moment: it has the first so many of the writes to
    /// it. A file system's journal shortens files in order, and what was written after a shortening that is lost went to
    /// places that nobody finds any more.
    pub(super) fn left_of(self, content: Content, rng: &mut StdRng) -> Vec<u8> {
        let (mut left, edits) = content.into_parts();
        let mut lost = BTreeSet::new();
        for edit in edits {
            match edit {
                Edit::Resize(length) if length < left.len() => {
                    if !rng.random_bool(self.kept) {
                        break;
                    }
                    left.truncate(length);
                }
                // Zeros that were never written are there as soon as something behind them is.
                Edit::Resize(_) => {}
                Edit::Write { at, bytes } => self.write_sectors(&mut left, at, &bytes, &mut lost, rng),
            }
        }
        left
    }

    fn write_sectors(
        self,
        left: &mut Vec<u8>,
        mut at: usize,
        mut bytes: &[u8],
        lost: &mut BTreeSet<usize>,
        rng: &mut StdRng,
    ) {
        while !bytes.is_empty() {
            let sector = at / self.sector;
            let (here, rest) = bytes.split_at(bytes.len().min((sector + 1) * self.sector - at));
            if !lost.contains(&sector) {
                if rng.random_bool(self.kept) {
                    write(left, at, here);
                } else {
                    lost.insert(sector);
                }
            }
            at += here.len();
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Which contents a cut may leave, and which never.

    use rand::SeedableRng;

    use super::*;

    const SOME: Cut = Cut {
        sector: 512,
        kept: 0.5,
    };

    fn edited(edits: impl IntoIterator<Item = Edit>) -> Content {
        let mut content = Content::durable(vec![b'a'; 1024]);
        edits.into_iter().for_each(|edit| content.change(edit));
        content
    }

    fn fill(at: usize, byte: u8, count: usize) -> Edit {
        Edit::Write {
            at,
            bytes: vec![byte; count],
        }
    }

    #[test]
    fn what_was_synced_is_there_after_every_cut() {
        let mut content = edited([fill(100, b'b', 1000), Edit::Resize(800)]);
        content.sync();
        assert_eq!(content.now().len(), 800);
        let now = content.now().clone();
        let nothing = Cut { kept: 0.0, ..SOME };
        assert_eq!(nothing.left_of(content, &mut StdRng::seed_from_u64(1)), now);
    }

    #[test]
    fn a_sector_is_as_it_was_at_one_moment_and_sectors_are_in_any_order() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let content = edited([fill(0, b'b', 1024), fill(10, b'c', 2), fill(600, b'd', 2)]);
            let left = SOME.left_of(content, &mut StdRng::seed_from_u64(seed));
            assert_eq!(left.len(), 1024);
            seen.insert([left[0], left[10], left[512], left[600]]);
        }
        let of_first = [*b"aa", *b"bb", *b"bc"];
        let of_second = [*b"aa", *b"bb", *b"bd"];
        let all = of_first
            .iter()
            .flat_map(|first| of_second.map(|second| [first[0], first[1], second[0], second[1]]));
        assert_eq!(seen, all.collect());
    }

    #[test]
    fn what_follows_a_shortening_that_is_lost_is_lost_too() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let content = edited([Edit::Resize(0), fill(0, b'b', 10), Edit::Resize(512)]);
            let left = SOME.left_of(content, &mut StdRng::seed_from_u64(seed));
            seen.insert((left.len(), left.first().copied()));
        }
        assert_eq!(seen, [(1024, Some(b'a')), (0, None), (10, Some(b'b'))].into());
    }
}
