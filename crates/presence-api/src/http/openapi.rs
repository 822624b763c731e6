//! `GET /openapi.json`: the API for tools that generate clients.

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use crate::json::Body;

const DOCUMENT: &str = include_str!("openapi.json");

/// The document, as it is in the source.
pub(super) fn document() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(DOCUMENT.as_bytes())));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    //! The document and `docs/api.md` are held against the route table.

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::routes::ROUTES;

    const API_DOCS: &str = include_str!("../../../../docs/api.md");
    const COMPAT_DOCS: &str = include_str!("../../../../docs/compat.md");

    #[test]
    fn it_describes_the_routes_there_are_and_no_other() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let methods = operations.as_object().unwrap().keys();
            for method in methods.filter(|key| *key != "parameters") {
                described.insert((path.replace("{instance}", ":instance"), method.to_uppercase()));
            }
        }
        let ours = ROUTES
            .iter()
            .filter(|route| route.compat.is_none() && !route.page);
        let routes = ours.map(|route| (route.path.to_owned(), route.method.to_string()));
        assert_eq!(described, routes.collect());
        for (path, method) in described {
            let documented = format!("`{method} {path}");
            assert!(API_DOCS.contains(&documented), "docs/api.md has no {documented}`");
        }
    }

    #[test]
    fn the_routes_of_other_gateways_are_documented_on_a_page_of_their_own() {
        for route in ROUTES.iter().filter(|route| route.compat.is_some()) {
            let documented = format!("`{} {}", route.method, route.path);
            assert!(
                COMPAT_DOCS.contains(&documented),
                "docs/compat.md has no {documented}`"
            );
        }
    }
}
