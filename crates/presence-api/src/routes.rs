//! The route table: which endpoint a method and a path name, and what holds for its answers. Matching, `Allow`,
//! the metrics and the tests of `openapi.json` and `docs/api.md` all read it.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Its segments; `:instance` stands for a name, and `*` at the end for all that follow.
    pub(crate) path: &'static str,
    /// Its name in logs and metrics: a word of ours, never a part of the request.
    pub(crate) label: &'static str,
    pub(crate) endpoint: Endpoint,
    /// Whether `HEAD` is answered too, as `GET` without its body. Only where `GET` changes nothing.
    head: bool,
    /// Whether its answers show tokens, QR or link codes, which no cache may keep.
    pub(crate) secret: bool,
    /// Whether it is for people with a browser, and no part of the API.
    pub(crate) page: bool,
    /// Whether it is for probes and monitoring, and so also on the listener of their own.
    pub(crate) probe: bool,
}

/// What answers a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    ChatPresence,
    ShownPresences,
    Events,
    InstanceNew,
    InstanceList,
    InstanceConnect,
    InstanceReconnect,
    InstanceLogout,
    InstanceDelete,
    InstanceGetSettings,
    InstanceSettings,
    Health,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
    Root,
    Console,
    ConsoleFile,
}

/// Every route. `connect` is a `GET` that begins a pairing, and `events` one that never ends, so they answer no
/// `HEAD`.
pub(crate) static ROUTES: [Route; 19] = [
    post(
        "/api/chat/presence/:instance",
        "chat_presence",
        Endpoint::ChatPresence,
    ),
    get(
        "/api/chat/presence/:instance",
        "shown_presences",
        Endpoint::ShownPresences,
    )
    .secret(),
    route(Method::GET, "/api/events", "events", Endpoint::Events).secret(),
    post("/api/instance/new", "instance_new", Endpoint::InstanceNew).secret(),
    get("/api/instance/list", "instance_list", Endpoint::InstanceList).secret(),
    route(
        Method::GET,
        "/api/instance/connect/:instance",
        "instance_connect",
        Endpoint::InstanceConnect,
    )
    .secret(),
    post(
        "/api/instance/reconnect/:instance",
        "instance_reconnect",
        Endpoint::InstanceReconnect,
    ),
    delete(
        "/api/instance/logout/:instance",
        "instance_logout",
        Endpoint::InstanceLogout,
    ),
    delete(
        "/api/instance/delete/:instance",
        "instance_delete",
        Endpoint::InstanceDelete,
    ),
    get(
        "/api/instance/getSettings/:instance",
        "instance_get_settings",
        Endpoint::InstanceGetSettings,
    ),
    post(
        "/api/instance/settings/:instance",
        "instance_settings",
        Endpoint::InstanceSettings,
    ),
    get("/health", "health", Endpoint::Health).probe(),
    get("/livez", "livez", Endpoint::Livez).probe(),
    get("/readyz", "readyz", Endpoint::Readyz).probe(),
    get("/metrics", "metrics", Endpoint::Metrics).probe(),
    get("/openapi.json", "openapi", Endpoint::OpenApi),
    get("/", "root", Endpoint::Root).page(),
    get("/console", "console", Endpoint::Console).page(),
    get("/console/*", "console_file", Endpoint::ConsoleFile).page(),
];

/// A route that a request named.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    /// Its place in [`ROUTES`].
    pub(crate) index: usize,
    /// What stands in the place of `:instance`, decoded, or of `*`, as it came; empty where the path has neither.
    pub(crate) name: Cow<'a, str>,
}

impl Found<'_> {
    pub(crate) fn route(&self) -> &'static Route {
        &ROUTES[self.index]
    }
}

/// Finds the route. One slash at the end of the path is ignored.
///
/// # Errors
/// [`ApiError::NoSuchRoute`], or [`ApiError::MethodNotAllowed`] when the path exists under another method.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<Found<'a>, ApiError> {
    let mut exists = false;
    for (index, route) in ROUTES.iter().enumerate() {
        if let Some(name) = name_in(route.path, path) {
            if route.answers(method) {
                return Ok(Found { index, name });
            }
            exists = true;
        }
    }
    Err(if exists {
        ApiError::MethodNotAllowed(allow(path))
    } else {
        ApiError::NoSuchRoute
    })
}

impl Route {
    fn answers(&self, method: &Method) -> bool {
        self.method == *method || (self.head && *method == Method::HEAD)
    }

    const fn head(mut self) -> Self {
        self.head = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn page(mut self) -> Self {
        self.page = true;
        self
    }

    const fn probe(mut self) -> Self {
        self.probe = true;
        self
    }
}

const fn route(method: Method, path: &'static str, label: &'static str, endpoint: Endpoint) -> Route {
    Route {
        method,
        path,
        label,
        endpoint,
        head: false,
        secret: false,
        page: false,
        probe: false,
    }
}

const fn get(path: &'static str, label: &'static str, endpoint: Endpoint) -> Route {
    route(Method::GET, path, label, endpoint).head()
}

const fn post(path: &'static str, label: &'static str, endpoint: Endpoint) -> Route {
    route(Method::POST, path, label, endpoint)
}

const fn delete(path: &'static str, label: &'static str, endpoint: Endpoint) -> Route {
    route(Method::DELETE, path, label, endpoint)
}

/// The methods that `path` answers, as an `Allow` header writes them.
fn allow(path: &str) -> String {
    let mut methods = Vec::new();
    for route in ROUTES.iter().filter(|route| name_in(route.path, path).is_some()) {
        methods.push(route.method.as_str());
        if route.head {
            methods.push("HEAD");
        }
    }
    methods.join(", ")
}

/// The name in `path`, if it is one of `pattern`; empty where the pattern has none.
fn name_in<'a>(pattern: &str, path: &'a str) -> Option<Cow<'a, str>> {
    let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    let path = path.strip_suffix('/').unwrap_or(path);
    if let Some(start) = pattern.strip_suffix('*') {
        let rest = path.strip_prefix(start)?;
        return (!rest.is_empty()).then_some(Cow::Borrowed(rest));
    }
    let mut name = Cow::Borrowed("");
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected == ":instance" {
            name = decode(segment)?;
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(name)
}

/// The name a path segment spells. `None` for an empty one and for bytes that are no UTF-8: no instance has
/// such a name, and no route such a segment.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    (!segment.is_empty()).then(|| percent_decode_str(segment).decode_utf8().ok())?
}

#[cfg(test)]
mod tests {
    //! The table itself, and how paths are read.

    use std::collections::BTreeSet;

    use super::*;

    const METHODS: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];

    #[test]
    fn every_route_answers_its_own_methods_only_and_allow_names_them() {
        for (index, route) in ROUTES.iter().enumerate() {
            let path = route.path.replace(":instance", "shop").replace('*', "shop");
            for method in METHODS {
                match find(&method, &path) {
                    Ok(found) => {
                        assert!(found.route().answers(&method), "{method} {path}");
                        assert!(found.index == index || route.method != method, "{method} {path}");
                        assert_eq!(found.name, if path == route.path { "" } else { "shop" });
                    }
                    Err(ApiError::MethodNotAllowed(allow)) => {
                        assert!(!allow.split(", ").any(|allowed| allowed == method.as_str()));
                        assert!(allow.split(", ").any(|allowed| allowed == route.method.as_str()));
                    }
                    Err(other) => panic!("{method} {path}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn head_is_answered_only_where_get_changes_nothing() {
        let without: Vec<_> = ROUTES
            .iter()
            .filter(|route| route.method == Method::GET && !route.head)
            .map(|route| route.path)
            .collect();
        assert_eq!(without, ["/api/events", "/api/instance/connect/:instance"]);
        assert!(
            ROUTES
                .iter()
                .all(|route| !route.head || route.method == Method::GET)
        );
    }

    #[test]
    fn no_two_routes_have_one_label_or_one_endpoint() {
        let labels: BTreeSet<_> = ROUTES.iter().map(|route| route.label).collect();
        assert_eq!(labels.len(), ROUTES.len());
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(
                ROUTES[..at]
                    .iter()
                    .all(|before| before.endpoint != route.endpoint)
            );
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_no_route() {
        for path in [
            "//",
            "*",
            "/api",
            "/api/chat/presence",
            "/api/chat/presence/",
            "/api/chat/presence//",
            "/api/chat/presence/a/b",
            "/api/chat/presence/a//",
            "/api//chat/presence/a",
            "//api/chat/presence/a",
            "/API/chat/presence/a",
            "/api/instance/new/a",
            "/api/instance/connect",
            "/api/instance/restart/a",
            "/api/instance/connect/%ff",
            "/console//",
            "/health/a",
            "/healthz",
        ] {
            for method in METHODS {
                assert!(
                    matches!(find(&method, path), Err(ApiError::NoSuchRoute)),
                    "{method} {path}"
                );
            }
        }
    }

    #[test]
    fn one_slash_at_the_end_changes_nothing() {
        assert_eq!(
            find(&Method::GET, "/health/").unwrap().route().endpoint,
            Endpoint::Health
        );
        let found = find(&Method::POST, "/api/chat/presence/shop/").unwrap();
        assert_eq!(
            (found.route().endpoint, &*found.name),
            (Endpoint::ChatPresence, "shop")
        );
    }

    #[test]
    fn a_name_may_be_percent_encoded() {
        let name = |path| find(&Method::POST, path).unwrap().name;
        assert_eq!(name("/api/chat/presence/sh%6Fp%2E1"), "shop.1");
        // A decoded slash is a part of the name, which then names no instance; it never adds a segment.
        assert_eq!(name("/api/chat/presence/a%2Fb"), "a/b");
    }
}
