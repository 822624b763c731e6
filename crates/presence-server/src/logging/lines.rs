//! Lines on their way to whoever reads the log, and the thread that writes them.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// Where the log puts its lines. It keeps so many, and drops and counts those that come when it is full.
#[derive(Debug)]
pub(super) struct Lines {
    waiting: Mutex<Waiting>,
    /// Something was put there, or all of it was written.
    changed: Condvar,
    at_most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    lines: usize,
    /// What the thread has taken is not yet written.
    being_written: bool,
    dropped: usize,
}

impl Lines {
    /// Room for so many lines that wait, and a thread that writes them to `to`.
    ///
    /// # Panics
    /// When no thread can be started.
    pub(super) fn written_to(to: impl Write + Send + 'static, at_most: usize) -> Arc<Self> {
        let lines = Arc::new(Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            at_most,
        });
        let writer = Arc::clone(&lines);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_all_to(to))
            .expect("a thread can be started");
        lines
    }

    /// How many lines were dropped since the start.
    pub(super) fn dropped(&self) -> usize {
        self.waiting().dropped
    }

    /// Waits until all is written, but no longer than `patience`.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let is_left = |waiting: &mut Waiting| waiting.lines > 0 || waiting.being_written;
        let waited = self.changed.wait_timeout_while(self.waiting(), patience, is_left);
        drop(waited);
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines == self.at_most {
            waiting.dropped = waiting.dropped.saturating_add(1);
            return;
        }
        waiting.text.extend_from_slice(line);
        waiting.lines += 1;
        // A wake-up is a system call; the thread looks again by itself after what it is writing.
        let sleeps = waiting.lines == 1 && !waiting.being_written;
        drop(waiting);
        if sleeps {
            self.changed.notify_all();
        }
    }

    /// Does not end. Lines that wait together are written together.
    fn write_all_to(&self, mut to: impl Write) {
        let mut text = Vec::new();
        let mut waiting = self.waiting();
        loop {
            while waiting.lines == 0 {
                waiting = self.changed.wait(waiting).expect(UNPOISONED);
            }
            text.clear();
            std::mem::swap(&mut text, &mut waiting.text);
            let lines = std::mem::take(&mut waiting.lines);
            waiting.being_written = true;
            drop(waiting);
            let written = to.write_all(&text).and_then(|()| to.flush());
            waiting = self.waiting();
            waiting.being_written = false;
            if written.is_err() {
                waiting.dropped = waiting.dropped.saturating_add(lines);
            }
            self.changed.notify_all();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nobody panics with the lines in hand";

/// Each call is a line: that is how `tracing-subscriber` writes.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Somebody who reads only when asked to.
    struct Reader {
        started: Sender<Vec<u8>>,
        go_on: Receiver<io::Result<()>>,
    }

    impl Write for Reader {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // The test may be over.
            let _ = self.started.send(text.to_vec());
            self.go_on.recv().unwrap_or(Ok(())).map(|()| text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Log {
        lines: Arc<Lines>,
        started: Receiver<Vec<u8>>,
        go_on: Sender<io::Result<()>>,
    }

    impl Log {
        fn of_at_most(lines: usize) -> Self {
            let (started, seen) = mpsc::channel();
            let (go_on, told) = mpsc::channel();
            let reader = Reader { started, go_on: told };
            Self {
                lines: Lines::written_to(reader, lines),
                started: seen,
                go_on,
            }
        }

        fn say(&self, line: &str) {
            (&*self.lines).write_all(line.as_bytes()).unwrap();
        }

        fn next_read(&self) -> String {
            String::from_utf8(self.started.recv_timeout(MINUTE).unwrap()).unwrap()
        }

        fn answer(&self, written: io::Result<()>) {
            self.go_on.send(written).unwrap();
        }
    }

    #[test]
    fn lines_that_wait_together_are_written_together_and_in_order() {
        let log = Log::of_at_most(10);
        log.say("one\n");
        assert_eq!(log.next_read(), "one\n");
        log.say("two\n");
        log.say("three\n");
        log.answer(Ok(()));
        assert_eq!(log.next_read(), "two\nthree\n");
        log.answer(Ok(()));
        log.lines.wait_until_written(MINUTE);
        assert_eq!(log.lines.dropped(), 0);
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_counted_and_nobody_waits_for_it() {
        let log = Log::of_at_most(2);
        log.say("being written\n");
        log.next_read();
        for line in ["first\n", "second\n", "third\n", "fourth\n"] {
            log.say(line);
        }
        assert_eq!(log.lines.dropped(), 2);
        log.lines.wait_until_written(Duration::ZERO);
        log.answer(Ok(()));
        assert_eq!(log.next_read(), "first\nsecond\n");
    }

    #[test]
    fn what_could_not_be_written_is_counted_and_the_next_is_tried() {
        let log = Log::of_at_most(10);
        log.say("to a full disk\n");
        log.next_read();
        log.answer(Err(io::ErrorKind::StorageFull.into()));
        log.lines.wait_until_written(MINUTE);
        assert_eq!(log.lines.dropped(), 1);
        log.say("and again\n");
        assert_eq!(log.next_read(), "and again\n");
    }

    #[test]
    fn at_the_end_what_is_left_is_waited_for() {
        let log = Log::of_at_most(10);
        log.say("the last\n");
        let lines = Arc::clone(&log.lines);
        let end = thread::spawn(move || lines.wait_until_written(MINUTE));
        log.next_read();
        assert!(!end.is_finished());
        log.answer(Ok(()));
        end.join().unwrap();
    }
}
