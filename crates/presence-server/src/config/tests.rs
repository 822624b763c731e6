//! Settings come from a map; no test touches the environment.

use std::collections::HashMap;

use super::unknown::unknown_variables;
use super::*;

fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let settings: HashMap<&str, &str> = settings.iter().copied().collect();
    for name in settings.keys() {
        assert!(
            settings::ALL.iter().any(|setting| setting.variable == *name),
            "{name} is no setting"
        );
    }
    Config::from_lookup(|name| settings.get(name).map(|value| (*value).to_owned()))
}

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn nothing_set_is_the_contract_on_loopback() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(
        config.http.limits,
        Limits {
            requests: 100,
            new_instances: 20,
            failures: 60
        }
    );
    assert_eq!(config.http.connect_hold, Duration::from_secs(60));
    assert_eq!(config.http.pace, presence_core::Pace::default());
    assert!(
        config.stop_grace < Duration::from_secs(8),
        "the whole stop fits in 8 s"
    );
    assert_eq!(config.probe_listen, None);
    assert!(config.http.console && config.http.docs);
    assert!(matches!(config.edge, Edge::WhatsApp));
    assert!(config.fleet.raise_availability && config.fleet.resolve_numbers && config.fleet.end_on_message);
    assert!(config.http.compat.is_empty());
    assert!(config.http.cors_origins.is_empty() && !config.http.metrics && config.token_key.is_none());
}

#[test]
fn the_console_is_on_by_itself_on_loopback_only() {
    let console = |settings: &[(&str, &str)]| read(settings).unwrap().http.console;
    let (loopback, everywhere) = (
        ("PRESENCE_LISTEN", "[::1]:0"),
        ("PRESENCE_LISTEN", "0.0.0.0:8080"),
    );
    assert!(console(&[loopback]) && !console(&[everywhere]));
    let (on, off) = (("PRESENCE_CONSOLE", "on"), ("PRESENCE_CONSOLE", "off"));
    assert!(console(&[everywhere, on]) && !console(&[loopback, off]));
}

#[test]
fn people_are_remembered_for_whole_days() {
    let days = |days| read(&[("PRESENCE_FORGET_PEERS_AFTER", days)]).map(|config| config.forget_peers_after);
    let of = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    assert_eq!(read(&[]).unwrap().forget_peers_after, of(180));
    assert_eq!((days("1").unwrap(), days("36500").unwrap()), (of(1), of(36_500)));
    assert!(days("0").is_err() && days("36501").is_err() && days("1.5").is_err());
}

#[test]
fn blank_is_unset() {
    assert_eq!(
        read(&[("PRESENCE_LISTEN", " "), ("PRESENCE_EDGE_URL", "")])
            .unwrap()
            .listen,
        "127.0.0.1:8080".parse().unwrap()
    );
}

#[test]
fn all_mistakes_are_reported_together() {
    let error = read(&[
        ("PRESENCE_LISTEN", "localhost"),
        ("PRESENCE_RATE_LIMIT", "-1"),
        ("PRESENCE_EDGE_KEY", "AAAA"),
        ("PRESENCE_METRICS", "maybe"),
        ("PRESENCE_STOP_DELAY", "-1"),
        ("PRESENCE_STOP_GRACE", "301"),
        ("PRESENCE_TYPING_RATE", "0"),
        ("PRESENCE_RECORDING_RATE", "1001"),
        ("PRESENCE_LOG", "presence=loud"),
    ])
    .unwrap_err();
    let text = error.to_string();
    for flag in [
        "--listen",
        "--rate-limit ",
        "--edge-key",
        "--edge-url",
        "--metrics",
        "--stop-delay",
        "--stop-grace",
        "--typing-rate",
        "--recording-rate",
        "--log ",
    ] {
        assert_eq!(
            text.lines().filter(|line| line.starts_with(flag)).count(),
            1,
            "{flag} in\n{text}"
        );
    }
    assert_eq!(text.lines().count(), 10, "{text}");
}

#[test]
fn a_sandbox_needs_its_url_and_its_key() {
    let url = ("PRESENCE_EDGE_URL", "ws://127.0.0.1:9800/ws/chat");
    assert!(
        matches!(read(&[url, ("PRESENCE_EDGE_KEY", KEY)]).unwrap().edge, Edge::Sandbox { key, .. } if key == [0; 32])
    );
    assert!(read(&[url]).unwrap_err().to_string().starts_with("--edge-key"));
    assert!(
        read(&[("PRESENCE_EDGE_KEY", KEY)])
            .unwrap_err()
            .to_string()
            .starts_with("--edge-url")
    );
    for wrong in ["http://127.0.0.1/", "/ws/chat", "127.0.0.1:9800"] {
        let error = read(&[("PRESENCE_EDGE_URL", wrong), ("PRESENCE_EDGE_KEY", KEY)]).unwrap_err();
        assert_eq!(error.mistakes.len(), 1, "{wrong}: {error}");
    }
}

#[test]
fn an_origin_is_what_browsers_send() {
    let origins = |text| read(&[("PRESENCE_CORS_ORIGINS", text)]).map(|config| config.http.cors_origins);
    assert_eq!(
        origins("https://a.example, http://localhost:3000").unwrap().len(),
        2
    );
    assert_eq!(origins("*").unwrap(), ["*"]);
    for wrong in [
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example:443",
        "HTTPS://a.example",
    ] {
        assert!(origins(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn other_gateways_are_named_one_by_one() {
    let compat = |text| read(&[("PRESENCE_COMPAT", text)]).map(|config| config.http.compat);
    assert_eq!(compat("evolution").unwrap(), [CompatApi::Evolution]);
    assert_eq!(
        compat("waha, evolution,").unwrap(),
        [CompatApi::Waha, CompatApi::Evolution]
    );
    assert!(compat("").unwrap().is_empty());
    for wrong in ["on", "Evolution", "evolution waha", "waha,wuzapi"] {
        let error = compat(wrong).unwrap_err().to_string();
        assert!(error.starts_with("--compat"), "{error}");
    }
}

#[test]
fn proxies_are_networks_or_single_addresses() {
    let proxies =
        |text| read(&[("PRESENCE_TRUSTED_PROXIES", text)]).map(|config| config.http.trusted_proxies);
    let expected: Vec<IpNet> = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128"]
        .map(|network| network.parse().unwrap())
        .to_vec();
    assert_eq!(
        proxies("10.0.0.0/8, 192.0.2.7,2001:db8::/32,::1").unwrap(),
        expected
    );
    for wrong in ["10.0.0.0/33", "proxy.example", "10.0.0"] {
        assert!(proxies(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_default_is_right_and_every_flag_has_its_variable() {
    let defaults: HashMap<_, _> = settings::ALL
        .iter()
        .filter_map(|setting| Some((setting.variable, setting.default?)))
        .collect();
    assert!(Config::from_lookup(|name| defaults.get(name).map(|value| (*value).to_owned())).is_ok());
    for setting in settings::ALL {
        let expected = format!("PRESENCE_{}", setting.flag.replace('-', "_").to_uppercase());
        assert_eq!(setting.variable, expected);
    }
}

#[test]
fn a_word_that_is_no_level_does_not_silence_the_log() {
    for good in [
        "info",
        "WARN",
        "off",
        "info,hyper=debug",
        "presence_wa=trace",
        "info,",
    ] {
        assert!(read(&[("PRESENCE_LOG", good)]).is_ok(), "{good}");
    }
    for wrong in ["warning", "info,verbose", "hyper", "presence=loud"] {
        let error = read(&[("PRESENCE_LOG", wrong)]).unwrap_err();
        assert_eq!(error.mistakes.len(), 1, "{wrong}: {error}");
    }
    let error = read(&[("PRESENCE_LOG", "warning")]).unwrap_err().to_string();
    assert!(error.contains("\"warning\" is no level"), "{error}");
}

#[test]
fn a_variable_that_nothing_reads_is_found_with_the_one_that_may_be_meant() {
    let found = |name: &str| unknown_variables([name.to_owned()]);
    for known in [
        "PRESENCE_LISTEN",
        "PRESENCE_TOKEN",
        "PRESENCE_URL",
        "PATH",
        "presence_x",
    ] {
        assert_eq!(found(known), [], "{known}");
    }
    let (misspelt, strange) = (found("PRESENCE_LISTN"), found("PRESENCE_SERVICE_PORT_HTTP"));
    assert_eq!(
        misspelt[0].to_string(),
        "nothing reads PRESENCE_LISTN; is PRESENCE_LISTEN meant?"
    );
    assert_eq!(strange[0].to_string(), "nothing reads PRESENCE_SERVICE_PORT_HTTP");
}

#[test]
fn the_operators_webhook_needs_a_secret_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good", &format!("whsec_{KEY}\n"));
    let url = ("PRESENCE_WEBHOOK_URL", "http://127.0.0.1:9/hook");
    fn secret(path: &str) -> (&str, &str) {
        ("PRESENCE_WEBHOOK_SECRET_FILE", path)
    }
    assert!(read(&[]).unwrap().http.webhooks.operator.is_none());
    let webhook = read(&[url, secret(&good)])
        .unwrap()
        .http
        .webhooks
        .operator
        .unwrap();
    assert_eq!(webhook.url.to_string(), url.1);
    assert_eq!(*webhook.secret.expose(), format!("whsec_{KEY}"));

    let bad = file("bad", "hush");
    for (settings, flag) in [
        (vec![url], "--webhook-secret-file "),
        (vec![secret(&good)], "--webhook-url "),
        (vec![url, secret(&bad)], "--webhook-secret-file "),
        (vec![url, secret("/nowhere/at/all")], "--webhook-secret-file "),
        (
            vec![("PRESENCE_WEBHOOK_URL", "example.com"), secret(&good)],
            "--webhook-url ",
        ),
    ] {
        let error = read(&settings).unwrap_err().to_string();
        assert!(error.starts_with(flag) && error.lines().count() == 1, "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn the_public_url_may_have_a_path_and_nothing_more() {
    let url =
        |url| read(&[("PRESENCE_PUBLIC_URL", url)]).map(|config| config.http.public_url.unwrap().to_string());
    assert_eq!(url("https://example.com").unwrap(), "https://example.com/");
    assert_eq!(url("https://example.com/at").unwrap(), "https://example.com/at");
    for wrong in [
        "example.com",
        "ftp://example.com",
        "https://example.com?a",
        "https://example.com#a",
    ] {
        assert!(
            url(wrong).unwrap_err().to_string().starts_with("--public-url "),
            "{wrong}"
        );
    }
}

#[test]
fn where_a_node_is_reached_is_an_address_that_leads_to_it() {
    let mistakes = |url| {
        let error = read(&[("PRESENCE_ADVERTISE_URL", url)]).unwrap_err();
        let text = error.to_string();
        // Without a database none of it means anything, which is a mistake of its own.
        let mut lines = text.lines().map(str::to_owned);
        let wrong = lines.find(|line| !line.contains("without --database-url"));
        wrong.unwrap_or_default()
    };
    for right in ["http://10.0.0.5:7070", "http://node-1:7070/", "http://[::1]:7070"] {
        assert_eq!(mistakes(right), "", "{right}");
    }
    for wrong in [
        "http://0.0.0.0:7070",
        "http://0:7070",
        "http://[::]:7070",
        "http://[::ffff:0.0.0.0]:7070",
    ] {
        let mistake = mistakes(wrong);
        assert!(mistake.starts_with("--advertise-url "), "{mistake}");
        assert!(mistake.contains("no other node reaches this one"), "{mistake}");
    }
    for wrong in ["10.0.0.5:7070", "https://node-1:7070", "http://node-1:7070/at"] {
        assert!(mistakes(wrong).contains("is no URL such as"), "{wrong}");
    }
}
