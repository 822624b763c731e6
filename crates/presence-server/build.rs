//! Tells the program which commit it is built of, where that can be known.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=PRESENCE_COMMIT");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo says which version it builds");
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=PRESENCE_VERSION={version}");
}

/// From the variable, as a container is built, or from git. Of an unpacked archive there is neither.
fn commit() -> Option<String> {
    if let Ok(commit) = env::var("PRESENCE_COMMIT")
        && !commit.is_empty()
    {
        return Some(commit);
    }
    // Of a repository that merely has this one's files somewhere in it, it would be another commit.
    let top = git(&["rev-parse", "--show-prefix"])?;
    if top != "crates/presence-server/" {
        return None;
    }
    // Written to whenever HEAD moves. A path that is not there would have this run every time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
