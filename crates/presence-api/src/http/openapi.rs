//! `GET /openapi.json`: the API for tools that generate clients.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::json::Body;

const DOCUMENT: &str = include_str!("openapi.json");

/// The document, as it is in the source.
pub(super) fn document() -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(DOCUMENT.as_bytes())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    //! The document and `docs/api.md` are held against the route table.

    use std::collections::BTreeSet;

    use hyper::Method;
    use serde_json::Value;

    use super::*;
    use crate::routes;

    const API_DOCS: &str = include_str!("../../../../docs/api.md");

    #[test]
    fn it_describes_the_routes_there_are() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut labels = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
            {
                let method: Method = method.to_uppercase().parse().unwrap();
                let documented = format!("`{method} {}", path.replace("{instance}", ":instance"));
                assert!(API_DOCS.contains(&documented), "docs/api.md has no {documented}`");
                let path = path.replace("{instance}", "shop");
                let route =
                    routes::route(&method, &path).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
                labels.insert(route.label());
            }
        }
        assert_eq!(labels.len(), 14, "a route is missing: {labels:?}");
    }
}
