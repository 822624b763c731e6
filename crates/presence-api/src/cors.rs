//! Calls from pages of other origins (contract, section 7). Off unless origins are configured.
//!
//! tower-http's layer answers a preflight with 200 where the contract has 204, so these few lines are ours.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap,
    HeaderValue, ORIGIN, VARY,
};
use hyper::{Method, Response, StatusCode};

use crate::compat::CompatApi;
use crate::json::Body;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("content-type, authorization, token");
const EVOLUTION_REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("content-type, apikey");
const WAHA_REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("content-type, x-api-key");
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static(
    "x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, retry-after, x-error-detail, x-request-id",
);
/// Seconds for which a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may call, as browsers send them: `https://example.com`. `*` is every origin; none
/// is off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    pub(crate) fn new(origins: Vec<HeaderValue>) -> Self {
        Self { origins }
    }

    /// The answer to a preflight; `None` when this request is not one, or CORS is off. On a route of `compat` a
    /// page may send the token as that API has it.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        compat: Option<CompatApi>,
    ) -> Option<Response<Body>> {
        let asked = method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if self.origins.is_empty() || !asked {
            return None;
        }
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if self.allowed(headers).is_some() {
            let answer = response.headers_mut();
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            let request_headers = match compat {
                None => REQUEST_HEADERS,
                Some(CompatApi::Evolution) => EVOLUTION_REQUEST_HEADERS,
                Some(CompatApi::Waha) => WAHA_REQUEST_HEADERS,
            };
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, request_headers);
            answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Some(response)
    }

    /// Lets the page that made the request, if it may, read the answer.
    pub(crate) fn write(&self, request: &HeaderMap, response: &mut HeaderMap) {
        if self.origins.is_empty() {
            return;
        }
        // Also without an origin: a cache must not hand that answer to a page.
        response.insert(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.allowed(request) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }

    fn allowed(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.origins
            .iter()
            .find(|allowed| *allowed == origin || *allowed == "*")
    }
}

#[cfg(test)]
mod tests {
    //! Preflights and answers, without a server.

    use super::*;

    fn from(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (ORIGIN, HeaderValue::from_static(origin)),
            (ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST")),
        ])
    }

    #[test]
    fn off_it_neither_answers_nor_adds_anything() {
        let cors = Cors::default();
        let mut answer = HeaderMap::new();
        cors.write(&from("https://a.example"), &mut answer);
        assert!(answer.is_empty());
        assert!(
            cors.preflight(&Method::OPTIONS, &from("https://a.example"), None)
                .is_none()
        );
    }

    #[test]
    fn a_configured_origin_may_call_and_read() {
        let cors = Cors::new(vec![HeaderValue::from_static("https://a.example")]);
        let request = from("https://a.example");
        let mut response = cors.preflight(&Method::OPTIONS, &request, None).unwrap();
        cors.write(&request, response.headers_mut());
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header(ACCESS_CONTROL_ALLOW_ORIGIN), "https://a.example");
        assert_eq!(header(ACCESS_CONTROL_ALLOW_METHODS), "GET, POST, DELETE");
        assert_eq!(
            header(ACCESS_CONTROL_ALLOW_HEADERS),
            "content-type, authorization, token"
        );
        assert!(header(ACCESS_CONTROL_EXPOSE_HEADERS).contains("x-ratelimit-remaining"));
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-credentials")
        );
    }

    #[test]
    fn a_page_may_send_the_token_as_the_api_of_the_route_has_it() {
        let cors = Cors::new(vec![HeaderValue::from_static("*")]);
        for (api, expected) in [
            (CompatApi::Evolution, "content-type, apikey"),
            (CompatApi::Waha, "content-type, x-api-key"),
        ] {
            let preflight = cors.preflight(&Method::OPTIONS, &from("https://a.example"), Some(api));
            assert_eq!(
                preflight.unwrap().headers()[ACCESS_CONTROL_ALLOW_HEADERS],
                expected
            );
            assert!(expected.ends_with(api.token_header().as_str()));
        }
    }

    #[test]
    fn another_origin_is_not_let_in() {
        let cors = Cors::new(vec![HeaderValue::from_static("https://a.example")]);
        let request = from("https://b.example");
        let mut response = cors.preflight(&Method::OPTIONS, &request, None).unwrap();
        cors.write(&request, response.headers_mut());
        assert_eq!(response.headers().keys().collect::<Vec<_>>(), [VARY]);
    }

    #[test]
    fn options_without_an_origin_is_no_preflight() {
        let cors = Cors::new(vec![HeaderValue::from_static("*")]);
        assert!(
            cors.preflight(&Method::OPTIONS, &HeaderMap::new(), None)
                .is_none()
        );
        assert!(
            cors.preflight(&Method::POST, &from("https://a.example"), None)
                .is_none()
        );
    }
}
