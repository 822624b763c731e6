//! Files of pages, as they lie in the binary and are served.

use std::hash::{DefaultHasher, Hasher};
use std::io::{Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::error::ApiError;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";

/// A file, by its path below the page.
pub(super) struct StaticFile {
    path: &'static str,
    kind: HeaderValue,
    policy: HeaderValue,
    tag: HeaderValue,
    gzip: Bytes,
    /// Absent where the file lies here packed: nearly every client unpacks.
    plain: Option<Bytes>,
}

impl StaticFile {
    /// A file of which the browser may load nothing, until it has a policy.
    pub(super) fn new(path: &'static str, kind: &'static str, plain: &'static [u8]) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let packed = gzip.write_all(plain).and_then(|()| gzip.finish());
        let packed = packed.expect("writing to a Vec cannot fail");
        Self::of(path, kind, packed.into(), Some(Bytes::from_static(plain)))
    }

    /// The same of one that is packed already.
    pub(super) fn packed(path: &'static str, kind: &'static str, gzip: &'static [u8]) -> Self {
        Self::of(path, kind, Bytes::from_static(gzip), None)
    }

    fn of(path: &'static str, kind: &'static str, gzip: Bytes, plain: Option<Bytes>) -> Self {
        let mut hash = DefaultHasher::new();
        hash.write(plain.as_ref().unwrap_or(&gzip));
        let tag = format!("\"{:016x}\"", hash.finish());
        Self {
            path,
            kind: HeaderValue::from_static(kind),
            policy: HeaderValue::from_static("default-src 'none'"),
            tag: HeaderValue::from_str(&tag).expect("hexadecimal digits are header text"),
            gzip,
            plain,
        }
    }

    /// The same with what the browser may load and run for it.
    pub(super) fn with_policy(self, policy: HeaderValue) -> Self {
        Self { policy, ..self }
    }

    /// Answers the one of `files` that lies at `path`.
    pub(super) fn find(files: &[Self], path: &str, request: &HeaderMap) -> Result<Response<Body>, ApiError> {
        let file = files.iter().find(|file| file.path == path);
        Ok(file.ok_or(ApiError::NoSuchRoute)?.answer(request))
    }

    #[cfg(test)]
    pub(super) fn packed_size(&self) -> usize {
        self.gzip.len()
    }

    fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let is_known = request
            .get(header::IF_NONE_MATCH)
            .is_some_and(|known| known == self.tag);
        let takes_gzip = request
            .get(header::ACCEPT_ENCODING)
            .and_then(|accepted| accepted.to_str().ok())
            .is_some_and(|accepted| accepted.split([',', ' ']).any(|coding| coding == "gzip"));
        let body = match (is_known, takes_gzip) {
            (true, _) => Bytes::new(),
            (false, true) => self.gzip.clone(),
            (false, false) => self.plain(),
        };
        let mut response = Response::new(Body::from(body));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        let fields: [(HeaderName, HeaderValue); 8] = [
            (header::CONTENT_TYPE, self.kind.clone()),
            (header::ETAG, self.tag.clone()),
            // It is asked for each time whether it is still the same: a new binary brings a new page.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        ];
        headers.extend(fields);
        if takes_gzip && !is_known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn plain(&self) -> Bytes {
        self.plain.clone().unwrap_or_else(|| {
            let mut plain = Vec::new();
            let unpacked = GzDecoder::new(&*self.gzip).read_to_end(&mut plain);
            unpacked.expect("what lies in the binary is packed well, as a test says");
            plain.into()
        })
    }
}

/// Leads from an address to another one, which is relative: so it also works behind a proxy that puts a path in
/// front.
pub(super) fn redirect(status: StatusCode, to: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(to));
    response
}
