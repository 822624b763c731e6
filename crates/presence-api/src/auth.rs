//! Which token a request carries (contract, section 1). Whose it is, the registry knows.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::compat::CompatApi;

/// The token a request carries: `token: …`, or else `Authorization: Bearer …`. A `token` field wins even
/// when it is not valid, so that which of two tokens counts never depends on what the service knows.
///
/// A route of another gateway has one field alone for it, which that gateway's clients send; here it counts
/// nowhere else.
pub(crate) fn presented(headers: &HeaderMap, compat: Option<CompatApi>) -> Option<&str> {
    if let Some(api) = compat {
        return headers.get(api.token_header())?.to_str().ok();
    }
    if let Some(token) = headers.get("token") {
        return token.to_str().ok();
    }
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    //! Which token counts. Whose it is, is tested over HTTP.

    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_token_field_wins_over_the_bearer() {
        type Row = (&'static [(&'static str, &'static str)], Option<&'static str>);
        let table: [Row; 12] = [
            (&[], None),
            (&[("token", "abc")], Some("abc")),
            (&[("Token", "abc")], Some("abc")),
            (&[("authorization", "Bearer abc")], Some("abc")),
            (&[("authorization", "bearer abc")], Some("abc")),
            (&[("authorization", "BEARER   abc")], Some("abc")),
            (&[("authorization", "Bearer")], None),
            (&[("authorization", "abc")], None),
            (&[("authorization", "Basic YTpi")], None),
            (&[("authorization", "Bearer abc"), ("token", "def")], Some("def")),
            (&[("authorization", "Bearer abc"), ("token", "")], Some("")),
            (&[("authorization", "Bearer abc"), ("token", "d\u{e9}f")], None),
        ];
        for (fields, expected) in table {
            assert_eq!(presented(&headers(fields), None), expected, "{fields:?}");
        }
    }

    #[test]
    fn another_gateways_field_counts_on_its_routes_and_nowhere_else() {
        let all = headers(&[
            ("token", "ours"),
            ("authorization", "Bearer bearer"),
            ("ApiKey", "evolution"),
            ("X-Api-Key", "waha"),
        ]);
        assert_eq!(presented(&all, None), Some("ours"));
        assert_eq!(presented(&all, Some(CompatApi::Evolution)), Some("evolution"));
        assert_eq!(presented(&all, Some(CompatApi::Waha)), Some("waha"));

        let ours = headers(&[("token", "ours"), ("authorization", "Bearer bearer")]);
        let theirs = headers(&[("apikey", "evolution"), ("x-api-key", "waha")]);
        assert_eq!(presented(&ours, Some(CompatApi::Evolution)), None);
        assert_eq!(presented(&ours, Some(CompatApi::Waha)), None);
        assert_eq!(presented(&theirs, None), None);
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        fields.collect()
    }
}
