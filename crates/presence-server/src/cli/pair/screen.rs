//! What `instance pair` shows a person: the code on stdout, and on stderr how it goes.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use presence_api::Picture;
use terminal_size::{Height, Width, terminal_size_of};

use super::{PairArgs, Step};
use crate::cli::output::say;

const CLEAR_SCREEN: &str = "\x1b[2J\x1b[H";
const CLEAR_LINE: &str = "\r\x1b[K";
const SCAN: &str = "On the phone: Linked devices, Link a device, and scan";
const TYPE: &str = "On the phone: Linked devices, Link a device, Link with phone number instead, and type";
/// Lines around a drawn code: what to do, a blank one, how long is left.
const LINES_AROUND: usize = 3;

pub(super) struct Screen {
    png: Option<PathBuf>,
    open: bool,
    /// The last code did not fit; it is drawn once the window is large enough.
    too_small: bool,
    told: String,
}

impl Screen {
    pub(super) fn new(args: &PairArgs) -> Self {
        Self {
            png: args.png.clone(),
            open: args.open,
            too_small: false,
            told: String::new(),
        }
    }

    /// Shows what a person has to do now, if that is new.
    pub(super) fn show(&mut self, step: &Step, is_new: bool) -> anyhow::Result<()> {
        if !is_new && !self.too_small {
            return Ok(());
        }
        self.clear_line()?;
        match step {
            Step::Linked => Ok(()),
            Step::Type(code) => say(format_args!("{TYPE}\n\n    {code}\n")),
            Step::Scan(qr) => self.show_picture(&Picture::of(qr)?),
        }
    }

    fn show_picture(&mut self, picture: &Picture) -> anyhow::Result<()> {
        if let Some(path) = &self.png {
            fs::write(path, picture.to_png()?)
                .with_context(|| format!("cannot write the picture to {}", path.display()))?;
            say(format_args!("{SCAN} {}", path.display()))?;
            if std::mem::take(&mut self.open) {
                open::that_detached(path)
                    .with_context(|| format!("no program here opens {}", path.display()))?;
            }
            return Ok(());
        }
        let (columns, lines) = picture.size_in_blocks();
        let needed = (columns, lines + LINES_AROUND);
        let window = terminal_size_of(io::stdout()).map(|(Width(columns), Height(lines))| (columns, lines));
        if let Some(words) = too_small(window, needed) {
            self.too_small = true;
            return self.tell(&words);
        }
        self.too_small = false;
        // The code before is void; on a screen, it must not be scanned by mistake.
        let clear = if io::stdout().is_terminal() {
            CLEAR_SCREEN
        } else {
            ""
        };
        say(format_args!("{clear}{SCAN}\n\n{}", picture.to_half_blocks()))
    }

    /// Says something on a line of its own, unless it was just said.
    pub(super) fn tell(&mut self, words: &str) -> anyhow::Result<()> {
        if self.told != words {
            self.clear_line()?;
            writeln!(io::stderr(), "{words}")?;
            words.clone_into(&mut self.told);
        }
        Ok(())
    }

    /// Counts down, on a terminal.
    pub(super) fn wait(&self, left: Duration) -> anyhow::Result<()> {
        if io::stderr().is_terminal() {
            let seconds = left.as_secs();
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            write!(
                io::stderr(),
                "{CLEAR_LINE}waiting for the phone, {minutes}:{seconds:02} left"
            )?;
        }
        Ok(())
    }

    pub(super) fn clear_line(&self) -> anyhow::Result<()> {
        if io::stderr().is_terminal() {
            write!(io::stderr(), "{CLEAR_LINE}")?;
        }
        Ok(())
    }
}

/// What to say of a window in which the code does not fit; nothing where it does, or where there is no window.
fn too_small(window: Option<(u16, u16)>, (columns, lines): (usize, usize)) -> Option<String> {
    let (has_columns, has_lines) = window?;
    let fits = columns <= usize::from(has_columns) && lines <= usize::from(has_lines);
    (!fits).then(|| {
        format!(
            "the window has {has_columns} columns and {has_lines} lines, the code needs {columns} and {lines}: \
             enlarge it, or use --png FILE"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_where_it_fits() {
        assert_eq!(too_small(None, (60, 35)), None);
        assert_eq!(too_small(Some((60, 35)), (60, 35)), None);
        let words = too_small(Some((80, 24)), (60, 35)).unwrap();
        assert!(
            words.contains("24 lines") && words.contains("60 and 35"),
            "{words}"
        );
        assert!(too_small(Some((59, 50)), (60, 35)).is_some());
    }
}
