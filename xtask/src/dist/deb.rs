//! The Debian package: two archives in a third.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::package::{COMPLETIONS, NAME, Package, VERSION};
use super::{is_installed, output};
use crate::service::say;

const SUMMARY: &str = "shows typing... and recording... on WhatsApp, over HTTP";
const MAINTAINER: &str = "The Presence developers <presence@localhost>";

/// A new version takes over at once; the first one waits for its operator.
const AFTER_INSTALLING: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ -n "$2" ]; then
        systemctl try-restart presence.service
    fi
fi
"#;

const BEFORE_REMOVING: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now presence.service
fi
"#;

/// The data stays: it is the links of every phone.
const AFTER_REMOVING: &str = r#"#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
"#;

/// Writes the package to `dist`, and has dpkg read it where there is one.
pub(super) fn build(package: &Package, dist: &Path) -> anyhow::Result<PathBuf> {
    let files = installed(package)?;
    let mut data = package.archive(Vec::new());
    let mut dirs = BTreeSet::new();
    for (path, _, _) in &files {
        for (at, _) in path.match_indices('/') {
            if dirs.insert(&path[..at]) {
                data.dir(&format!("./{}/", &path[..at]))?;
            }
        }
    }
    for (path, mode, content) in &files {
        data.file(&format!("./{path}"), *mode, content)?;
    }

    let size: usize = files.iter().map(|(_, _, content)| content.len()).sum();
    let mut control = package.archive(Vec::new());
    let fields = fields(package.file(NAME)?, size)?;
    control.file("./control", 0o644, fields.as_bytes())?;
    control.file("./conffiles", 0o644, b"/etc/presence/presence.env\n")?;
    for (name, script) in [
        ("postinst", AFTER_INSTALLING),
        ("prerm", BEFORE_REMOVING),
        ("postrm", AFTER_REMOVING),
    ] {
        control.file(&format!("./{name}"), 0o755, script.as_bytes())?;
    }

    let path = dist.join(format!("{NAME}_{VERSION}-1_{}.deb", architecture()?));
    let mut archive = ar::Builder::new(File::create(&path)?);
    for (name, content) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", control.finish()?),
        ("data.tar.gz", data.finish()?),
    ] {
        let mut header = ar::Header::new(name.into(), content.len() as u64);
        header.set_mode(0o100_644);
        archive.append(&header, content.as_slice())?;
    }
    check(&path)?;
    Ok(path)
}

/// What lies where, with which rights.
fn installed(package: &Package) -> anyhow::Result<Vec<(String, u32, Vec<u8>)>> {
    let mut files = vec![(format!("usr/bin/{NAME}"), 0o755, package.file(NAME)?.to_vec())];
    let mut add = |path: String, content: &[u8]| files.push((path, 0o644, content.to_vec()));
    add(
        "etc/presence/presence.env".to_owned(),
        package.file("docs/deploy/presence.env")?,
    );
    add(
        "usr/lib/systemd/system/presence.service".to_owned(),
        package.file("docs/deploy/presence.service")?,
    );
    for (_, name, installed) in COMPLETIONS {
        add(
            format!("usr/share/{installed}"),
            package.file(&format!("completions/{name}"))?,
        );
    }
    for (page, content) in package.files_in("man") {
        add(format!("usr/share/man/man1/{page}.gz"), &compressed(content)?);
    }
    let doc = format!("usr/share/doc/{NAME}");
    let copyright = [package.file("LICENSE")?, b"\n", package.file("LICENSES.txt")?].concat();
    add(format!("{doc}/copyright"), &copyright);
    add(
        format!("{doc}/changelog.gz"),
        &compressed(package.file("docs/CHANGELOG.md")?)?,
    );
    for name in ["README.md", super::sbom::NAME, "docs/operations.md"] {
        let installed = name.rsplit('/').next().unwrap_or(name);
        add(format!("{doc}/{installed}"), package.file(name)?);
    }
    Ok(files)
}

fn fields(program: &[u8], size: usize) -> anyhow::Result<String> {
    let glibc = needed_glibc(program).context("the program asks for no glibc")?;
    Ok(format!(
        "Package: {NAME}\n\
         Version: {VERSION}-1\n\
         Architecture: {}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {}\n\
         Depends: libc6 (>= {}.{}), libgcc-s1\n\
         Section: net\n\
         Priority: optional\n\
         Description: {SUMMARY}\n \
         A service beside your WhatsApp gateway. It sends no messages.\n",
        architecture()?,
        size.div_ceil(1024),
        glibc.0,
        glibc.1
    ))
}

/// The newest version of glibc that a program names a symbol of.
fn needed_glibc(program: &[u8]) -> Option<(u32, u32)> {
    // The standard library's search is fast in a build for tests, too, and the program is large then.
    let text = String::from_utf8_lossy(program);
    let versions = text.split("GLIBC_").skip(1);
    versions
        .filter_map(|version| {
            let end = version.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
            let (major, minor) = version[..end].split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .max()
}

fn architecture() -> anyhow::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("Debian's name of {other} is not known here"),
    }
}

fn compressed(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

/// Reads the package as Debian does, and runs the program that comes out.
fn check(path: &Path) -> anyhow::Result<()> {
    if !is_installed("dpkg-deb") {
        say("   dpkg-deb is not here: the package was not read");
        return Ok(());
    }
    let field = output(Command::new("dpkg-deb").arg("--field").arg(path).arg("Version"))?;
    ensure!(
        field.trim() == format!("{VERSION}-1"),
        "dpkg reads the version {field}"
    );
    let unpacked = tempfile::tempdir()?;
    output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(path)
            .arg(unpacked.path()),
    )?;
    let program = unpacked.path().join("usr/bin").join(NAME);
    let said = output(Command::new(program).arg("--version"))?;
    ensure!(
        said.starts_with(&format!("{NAME} {VERSION}")),
        "the program in it says {said}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_that_is_named_is_needed() {
        let program = b"\0GLIBC_2.4\0GLIBC_2.34\0x GLIBC_2.3.4\0GLIBC_PRIVATE\0";
        assert_eq!(needed_glibc(program), Some((2, 34)));
        assert_eq!(needed_glibc(b"static"), None);
    }
}
