//! Which token a request carries (contract, section 1). Whose it is, the registry knows.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

/// The token a request carries: `token: …`, or else `Authorization: Bearer …`. A `token` field wins even
/// when it is not valid, so that which of two tokens counts never depends on what the service knows.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
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
            let headers: HeaderMap = fields
                .iter()
                .map(|(name, value)| {
                    (
                        name.parse::<HeaderName>().unwrap(),
                        HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                    )
                })
                .collect();
            assert_eq!(presented(&headers), expected, "{fields:?}");
        }
    }
}
