//! `GET /docs`: the API for people, with everything that it needs, from the binary.
//!
//! The page shows `/openapi.json`, and tries calls against this very service. Its files lie in `docs/` beside this
//! crate's source, the library packed.

use std::sync::LazyLock;

use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::static_file::{CSS, HTML, SCRIPT, SVG, StaticFile, redirect};
use crate::body::Body;
use crate::error::ApiError;

const PAGE: &str = "index.html";
const LIBRARY: &[u8] = include_bytes!("../../docs/vendor/openapi-explorer.min.js.gz");

/// Scripts come from here, and calls go here; nobody may frame the page. The library writes styles into its elements.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

static FILES: LazyLock<[StaticFile; 4]> = LazyLock::new(|| {
    let files = [
        StaticFile::new(PAGE, HTML, include_bytes!("../../docs/index.html")),
        StaticFile::new("style.css", CSS, include_bytes!("../../docs/style.css")),
        StaticFile::new("icon.svg", SVG, include_bytes!("../../console/icon.svg")),
        StaticFile::packed("vendor/openapi-explorer.min.js", SCRIPT, LIBRARY),
    ];
    files.map(|file| file.with_policy(POLICY))
});

/// The page, which is at `/docs` and not below it, so that its relative addresses hold.
pub(super) fn page(path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    if path.ends_with('/') {
        return Ok(redirect(StatusCode::PERMANENT_REDIRECT, "../docs"));
    }
    file(PAGE, headers)
}

/// One of its files.
pub(super) fn file(path: &str, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    StaticFile::find(&*FILES, path, headers)
}
