//! `GET /console`: the page for people, with everything that it needs, from the binary.
//!
//! Its files lie in `console/` beside this crate's source, as they are served: there is no build step.

use std::sync::LazyLock;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::static_file::{CSS, HTML, SCRIPT, SVG, StaticFile, redirect};
use crate::body::Body;
use crate::error::ApiError;

const PAGE: &str = "index.html";

/// Scripts, styles and images of this page come from here and from nowhere else, and none is written into it; nor
/// may another page frame it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

macro_rules! files {
    ($($path:literal: $kind:expr,)*) => {
        &[$(($path, $kind, include_bytes!(concat!("../../console/", $path)))),*]
    };
}

type Source = (&'static str, &'static str, &'static [u8]);

static SOURCES: &[Source] = files! {
    "index.html": HTML,
    "style.css": CSS,
    "icon.svg": SVG,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "choices.js": SCRIPT,
    "console.js": SCRIPT,
    "events.js": SCRIPT,
    "figures.js": SCRIPT,
    "html.js": SCRIPT,
    "i18n.js": SCRIPT,
    "instance.js": SCRIPT,
    "link.js": SCRIPT,
    "list.js": SCRIPT,
    "number.js": SCRIPT,
    "shown.js": SCRIPT,
    "signin.js": SCRIPT,
    "snippets.js": SCRIPT,
    "status.js": SCRIPT,
    "store.js": SCRIPT,
    "timeline.js": SCRIPT,
    "tryit.js": SCRIPT,
    "ui.js": SCRIPT,
    "words-en.js": SCRIPT,
    "words-pt.js": SCRIPT,
    "vendor/hooks.mjs": SCRIPT,
    "vendor/htm.module.js": SCRIPT,
    "vendor/preact.mjs": SCRIPT,
};

/// Packed when the first of them is asked for, which takes some milliseconds.
static FILES: LazyLock<Vec<StaticFile>> = LazyLock::new(|| {
    let files = SOURCES.iter();
    files
        .map(|(path, kind, plain)| StaticFile::new(path, kind, plain).with_policy(POLICY))
        .collect()
});

/// The page, which is at `/console` and not below it: its addresses are relative, so that it also works behind a
/// proxy that puts a path in front.
pub(super) fn page(path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    if path.ends_with('/') {
        return Ok(redirect(StatusCode::PERMANENT_REDIRECT, "../console"));
    }
    file(PAGE, headers)
}

/// One of its files.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    StaticFile::find(&FILES, path, headers)
}

/// From the root to the page.
pub(super) fn root() -> Response<Body> {
    redirect(StatusCode::TEMPORARY_REDIRECT, "console")
}

#[cfg(test)]
mod tests {
    //! The files themselves. That the page works, a browser tests (`cargo xtask console-test`).

    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// What a page may weigh, as it travels and as it is.
    const MOST_PACKED: usize = 50_000;
    const MOST_PLAIN: usize = 150_000;

    #[test]
    fn every_file_of_the_console_is_in_the_binary() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let mut there = BTreeSet::new();
        for folder in ["", "vendor/"] {
            for file in std::fs::read_dir(directory.join(folder)).unwrap() {
                let name = file.unwrap().file_name().into_string().unwrap();
                if name.contains(".js")
                    || name.contains(".mjs")
                    || name.contains(".css")
                    || name.contains(".html")
                {
                    there.insert(format!("{folder}{name}"));
                }
            }
        }
        let known: BTreeSet<_> = SOURCES.iter().map(|(path, ..)| (*path).to_owned()).collect();
        assert!(there.is_subset(&known), "{:?}", there.difference(&known));
    }

    #[test]
    fn all_of_it_is_small() {
        let sum = |size: fn(&StaticFile) -> usize| FILES.iter().map(size).sum::<usize>();
        let packed = sum(StaticFile::packed_size);
        let plain: usize = SOURCES.iter().map(|(.., bytes)| bytes.len()).sum();
        assert!(
            packed < MOST_PACKED && plain < MOST_PLAIN,
            "{packed} bytes packed, {plain} plain"
        );
    }

    #[test]
    fn every_file_that_another_names_is_there() {
        for (path, _, bytes) in SOURCES.iter().filter(|(path, ..)| path.ends_with("js")) {
            let text = str::from_utf8(bytes).unwrap();
            let folder = if path.starts_with("vendor/") {
                "vendor/"
            } else {
                ""
            };
            let named = text.split("from").filter_map(|rest| {
                let quoted = rest.trim_start().strip_prefix(['\'', '"'])?.strip_prefix("./")?;
                quoted.split(['\'', '"']).next()
            });
            for name in named {
                let wanted = format!("{folder}{name}");
                assert!(
                    SOURCES.iter().any(|(path, ..)| *path == wanted),
                    "{path} imports {wanted}"
                );
            }
        }
    }

    #[test]
    fn every_language_has_all_words_and_no_other() {
        let names = |path: &str| {
            let (.., bytes) = SOURCES.iter().find(|(name, ..)| *name == path).unwrap();
            let lines = str::from_utf8(bytes).unwrap().lines();
            let names = lines.filter_map(|line| line.trim_start().strip_prefix('\'')?.split_once("':"));
            names.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()
        };
        assert_eq!(names("words-en.js"), names("words-pt.js"));
        assert!(names("words-en.js").len() > 100);
    }
}
