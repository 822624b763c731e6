//! The route table: which endpoint a method and a path name. Pure; `docs/api.md` describes each row.

use std::borrow::Cow;

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// An endpoint, with what its path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    ChatPresence(Cow<'a, str>),
    InstanceNew,
    InstanceList,
    InstanceConnect(Cow<'a, str>),
    InstanceReconnect(Cow<'a, str>),
    InstanceLogout(Cow<'a, str>),
    InstanceDelete(Cow<'a, str>),
    InstanceGetSettings(Cow<'a, str>),
    InstanceSettings(Cow<'a, str>),
    Health,
    Livez,
    Readyz,
    Metrics,
    OpenApi,
}

/// Finds the endpoint. One slash at the end of the path is ignored; `HEAD` is `GET` whose answer hyper sends
/// without its body.
///
/// # Errors
/// [`ApiError::NoSuchRoute`], or [`ApiError::MethodNotAllowed`] when the path exists under another method.
pub(crate) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, ApiError> {
    let found = find(path).ok_or(ApiError::NoSuchRoute)?;
    if found
        .allowed()
        .split(", ")
        .any(|allowed| allowed == method.as_str())
    {
        Ok(found)
    } else {
        Err(ApiError::MethodNotAllowed(found.allowed()))
    }
}

/// What `path` names, whatever the method.
pub(crate) fn find(path: &str) -> Option<Route<'_>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut segments = path.split('/');
    let segments: [Option<&str>; 5] = std::array::from_fn(|_| segments.next());
    Some(match segments {
        [Some("api"), Some("chat"), Some("presence"), Some(name), None] => Route::ChatPresence(decode(name)?),
        [Some("api"), Some("instance"), Some("new"), None, None] => Route::InstanceNew,
        [Some("api"), Some("instance"), Some("list"), None, None] => Route::InstanceList,
        [Some("api"), Some("instance"), Some(action), Some(name), None] => {
            let name = decode(name)?;
            match action {
                "connect" => Route::InstanceConnect(name),
                "reconnect" => Route::InstanceReconnect(name),
                "logout" => Route::InstanceLogout(name),
                "delete" => Route::InstanceDelete(name),
                "getSettings" => Route::InstanceGetSettings(name),
                "settings" => Route::InstanceSettings(name),
                _ => return None,
            }
        }
        [Some("health"), None, ..] => Route::Health,
        [Some("livez"), None, ..] => Route::Livez,
        [Some("readyz"), None, ..] => Route::Readyz,
        [Some("metrics"), None, ..] => Route::Metrics,
        [Some("openapi.json"), None, ..] => Route::OpenApi,
        _ => return None,
    })
}

impl Route<'_> {
    /// The methods it answers, as an `Allow` header writes them.
    pub(crate) fn allowed(&self) -> &'static str {
        match self {
            Self::ChatPresence(_)
            | Self::InstanceNew
            | Self::InstanceReconnect(_)
            | Self::InstanceSettings(_) => "POST",
            Self::InstanceLogout(_) | Self::InstanceDelete(_) => "DELETE",
            Self::InstanceList
            | Self::InstanceConnect(_)
            | Self::InstanceGetSettings(_)
            | Self::Health
            | Self::Livez
            | Self::Readyz
            | Self::Metrics
            | Self::OpenApi => "GET, HEAD",
        }
    }

    /// Its name in logs and metrics: a word of ours, never a part of the request.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::ChatPresence(_) => "chat_presence",
            Self::InstanceNew => "instance_new",
            Self::InstanceList => "instance_list",
            Self::InstanceConnect(_) => "instance_connect",
            Self::InstanceReconnect(_) => "instance_reconnect",
            Self::InstanceLogout(_) => "instance_logout",
            Self::InstanceDelete(_) => "instance_delete",
            Self::InstanceGetSettings(_) => "instance_get_settings",
            Self::InstanceSettings(_) => "instance_settings",
            Self::Health => "health",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Metrics => "metrics",
            Self::OpenApi => "openapi",
        }
    }
}

/// The name a path segment spells. `None` for an empty one and for bytes that are no UTF-8: no instance has
/// such a name, and no route such a segment.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    (!segment.is_empty()).then(|| percent_decode_str(segment).decode_utf8().ok())?
}

#[cfg(test)]
mod tests {
    //! Row by row.

    use super::*;
    use crate::metrics::ROUTES;

    const METHODS: [Method; 6] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ];

    #[test]
    fn every_endpoint_answers_its_own_methods_only() {
        let name = || Cow::Borrowed("shop");
        let table: [(&str, &[Method], Route<'_>); 14] = [
            (
                "/api/chat/presence/shop",
                &[Method::POST],
                Route::ChatPresence(name()),
            ),
            ("/api/instance/new", &[Method::POST], Route::InstanceNew),
            (
                "/api/instance/list",
                &[Method::GET, Method::HEAD],
                Route::InstanceList,
            ),
            (
                "/api/instance/connect/shop",
                &[Method::GET, Method::HEAD],
                Route::InstanceConnect(name()),
            ),
            (
                "/api/instance/reconnect/shop",
                &[Method::POST],
                Route::InstanceReconnect(name()),
            ),
            (
                "/api/instance/logout/shop",
                &[Method::DELETE],
                Route::InstanceLogout(name()),
            ),
            (
                "/api/instance/delete/shop",
                &[Method::DELETE],
                Route::InstanceDelete(name()),
            ),
            (
                "/api/instance/getSettings/shop",
                &[Method::GET, Method::HEAD],
                Route::InstanceGetSettings(name()),
            ),
            (
                "/api/instance/settings/shop",
                &[Method::POST],
                Route::InstanceSettings(name()),
            ),
            ("/health", &[Method::GET, Method::HEAD], Route::Health),
            ("/livez", &[Method::GET, Method::HEAD], Route::Livez),
            ("/readyz", &[Method::GET, Method::HEAD], Route::Readyz),
            ("/metrics", &[Method::GET, Method::HEAD], Route::Metrics),
            ("/openapi.json", &[Method::GET, Method::HEAD], Route::OpenApi),
        ];
        for (path, methods, expected) in table {
            for method in METHODS {
                match route(&method, path) {
                    Ok(found) => {
                        assert!(methods.contains(&method), "{method} {path}");
                        assert_eq!(found, expected);
                        assert!(ROUTES.contains(&found.label()), "{path} has no counters");
                    }
                    Err(ApiError::MethodNotAllowed(allow)) => {
                        assert!(!methods.contains(&method), "{method} {path}");
                        assert_eq!(allow.split(", ").count(), methods.len());
                    }
                    Err(other) => panic!("{method} {path}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_no_route() {
        for path in [
            "",
            "/",
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
            "/health/a",
            "/healthz",
        ] {
            assert!(
                matches!(route(&Method::GET, path), Err(ApiError::NoSuchRoute)),
                "{path}"
            );
        }
    }

    #[test]
    fn one_slash_at_the_end_changes_nothing() {
        assert_eq!(route(&Method::GET, "/health/").unwrap(), Route::Health);
        assert_eq!(
            route(&Method::POST, "/api/chat/presence/shop/").unwrap(),
            Route::ChatPresence("shop".into())
        );
    }

    #[test]
    fn a_name_may_be_percent_encoded() {
        let found = route(&Method::POST, "/api/chat/presence/sh%6Fp%2E1").unwrap();
        assert_eq!(found, Route::ChatPresence("shop.1".into()));
        // A decoded slash is a part of the name, which then names no instance; it never adds a segment.
        let found = route(&Method::POST, "/api/chat/presence/a%2Fb").unwrap();
        assert_eq!(found, Route::ChatPresence("a/b".into()));
    }
}
