//! The route table: which endpoint a method and a path name, and what holds for its answers. Matching, `Allow`,
//! the metrics and the the document of OpenAPI and the test of `docs/api.md` all read it.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::compat::{CompatApi, EvolutionEndpoint, WahaEndpoint};
use crate::error::ApiError;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Its segments; one that begins with `:` stands for a name, and `*` at the end for all that follow.
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
    /// Whose route it is, where it is another gateway's: only there when that API is switched on.
    pub(crate) compat: Option<CompatApi>,
}

/// What answers a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    ChatPresence,
    ShownPresences,
    Events,
    GetWebhook,
    Webhook,
    InstanceNew,
    InstanceList,
    InstanceConnect,
    InstanceReconnect,
    InstanceLogout,
    InstanceDelete,
    InstanceGetSettings,
    InstanceSettings,
    InstanceGetProxy,
    InstanceProxy,
    PairingLink,
    RevokePairingLink,
    Mcp,
    Health,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
    Evolution(EvolutionEndpoint),
    Waha(WahaEndpoint),
    PairPage,
    Pair,
    Docs,
    DocsFile,
    Root,
    Console,
    ConsoleFile,
}

/// Every route. `connect` is a `GET` that begins a pairing, and `events` one that never ends, so they answer no
/// `HEAD`.
pub(crate) static ROUTES: [Route; 39] = [
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
    get("/api/events/webhook", "get_webhook", Endpoint::GetWebhook),
    post("/api/events/webhook", "webhook", Endpoint::Webhook).secret(),
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
    get(
        "/api/instance/getProxy/:instance",
        "instance_get_proxy",
        Endpoint::InstanceGetProxy,
    ),
    post(
        "/api/instance/proxy/:instance",
        "instance_proxy",
        Endpoint::InstanceProxy,
    ),
    post(
        "/api/instance/pairing-link/:instance",
        "pairing_link",
        Endpoint::PairingLink,
    )
    .secret(),
    delete(
        "/api/instance/pairing-link/:instance",
        "revoke_pairing_link",
        Endpoint::RevokePairingLink,
    ),
    post("/mcp", "mcp", Endpoint::Mcp),
    get("/health", "health", Endpoint::Health).probe(),
    get("/livez", "livez", Endpoint::Livez).probe(),
    get("/readyz", "readyz", Endpoint::Readyz).probe(),
    get("/metrics", "metrics", Endpoint::Metrics).probe(),
    get("/openapi.json", "openapi", Endpoint::OpenApi),
    post(
        "/chat/sendPresence/:instance",
        "evolution_send_presence",
        Endpoint::Evolution(EvolutionEndpoint::SendPresence),
    )
    .of(CompatApi::Evolution),
    post(
        "/instance/setPresence/:instance",
        "evolution_set_presence",
        Endpoint::Evolution(EvolutionEndpoint::SetPresence),
    )
    .of(CompatApi::Evolution),
    get(
        "/instance/connectionState/:instance",
        "evolution_connection_state",
        Endpoint::Evolution(EvolutionEndpoint::ConnectionState),
    )
    .of(CompatApi::Evolution),
    get(
        "/instance/fetchInstances",
        "evolution_fetch_instances",
        Endpoint::Evolution(EvolutionEndpoint::FetchInstances),
    )
    .of(CompatApi::Evolution)
    .secret(),
    post(
        "/api/startTyping",
        "waha_start_typing",
        Endpoint::Waha(WahaEndpoint::StartTyping),
    )
    .of(CompatApi::Waha),
    post(
        "/api/stopTyping",
        "waha_stop_typing",
        Endpoint::Waha(WahaEndpoint::StopTyping),
    )
    .of(CompatApi::Waha),
    post(
        "/api/:session/presence",
        "waha_presence",
        Endpoint::Waha(WahaEndpoint::Presence),
    )
    .of(CompatApi::Waha),
    get(
        "/api/sessions",
        "waha_sessions",
        Endpoint::Waha(WahaEndpoint::Sessions),
    )
    .of(CompatApi::Waha),
    get(
        "/api/sessions/:session",
        "waha_session",
        Endpoint::Waha(WahaEndpoint::Session),
    )
    .of(CompatApi::Waha),
    get("/pair/*", "pair_page", Endpoint::PairPage).secret().page(),
    post("/pair/*", "pair", Endpoint::Pair).secret().page(),
    get("/docs", "docs", Endpoint::Docs).page(),
    get("/docs/*", "docs_file", Endpoint::DocsFile).page(),
    get("/", "root", Endpoint::Root).page(),
    get("/console", "console", Endpoint::Console).page(),
    get("/console/*", "console_file", Endpoint::ConsoleFile).page(),
];

/// A route that a request named.
#[derive(Clone, Debug)]
pub(crate) struct Found<'a> {
    /// Its place in [`ROUTES`].
    pub(crate) index: usize,
    /// What stands in the place of the name, decoded, or of `*`, as it came; empty where the path has neither.
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

/// The other gateway to which `path` belongs, whatever the method; `None` for a path of ours, and for what is no
/// route at all.
pub(crate) fn compat(path: &str) -> Option<CompatApi> {
    let row = ROUTES.iter().find(|route| name_in(route.path, path).is_some());
    row?.compat
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

    const fn of(mut self, api: CompatApi) -> Self {
        self.compat = Some(api);
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
        compat: None,
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
    let Some((start, pattern)) = pattern.split_once(':') else {
        return (pattern == path).then_some(Cow::Borrowed(""));
    };
    let end = pattern.find('/').map_or("", |end| &pattern[end..]);
    let segment = path.strip_prefix(start)?.strip_suffix(end)?;
    if segment.contains('/') {
        None
    } else {
        decode(segment)
    }
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
            let path = route
                .path
                .replace(":instance", "shop")
                .replace(":session", "shop")
                .replace('*', "shop");
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
    fn a_path_of_ours_is_none_of_another_gateway_and_no_two_share_one() {
        let example = |route: &Route| {
            route
                .path
                .replace(":instance", "shop")
                .replace(":session", "shop")
        };
        for route in &ROUTES {
            assert_eq!(compat(&example(route)), route.compat, "{}", route.path);
            // Else a gateway that is switched on would change the answers of the others' routes.
            let others = ROUTES.iter().filter(|other| other.compat != route.compat);
            for other in others {
                assert!(
                    name_in(other.path, &example(route)).is_none(),
                    "{}, {}",
                    other.path,
                    route.path
                );
            }
        }
        assert_eq!(compat("/api/nothing"), None);
    }

    #[test]
    fn what_is_not_in_the_table_is_no_route() {
        for path in [
            "//",
            "*",
            "/api",
            "/chat/sendPresence",
            "/instance/connectionState",
            "/instance/fetchInstances/a",
            "/api//presence",
            "/api/sessions/a/b",
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
