//! What a scraper reads after things have happened.

use presence_api::Limits;
use presence_sandbox::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::app::{CUSTOMER, SHOP, TestApp, phone, secs};

async fn metrics(app: &TestApp) -> String {
    let metrics = app.get("/metrics").no_token().send().await;
    assert_eq!(
        metrics.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    metrics.text
}

#[track_caller]
fn assert_lines(metrics: &str, expected: &[&str]) {
    for line in expected {
        assert!(
            metrics.lines().any(|found| found == *line),
            "{line} is not in\n{metrics}"
        );
    }
}

/// The sum of what `series` counts, over the labels that follow.
fn sum(metrics: &str, series: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn metrics_count_what_was_answered_and_shown_once_they_are_switched_on() {
    let app = TestApp::with(|options| options.http.metrics = true).await;
    app.connected("shop", SHOP).await;
    app.show("typing", 12).await;
    assert_lines(&metrics(&app).await, &["presence_indicators_active 1"]);
    sleep(secs(13.0)).await;
    app.show("recording", 60).await;
    app.show("typing", 60).await;
    app.show("pause", 0).await;
    app.get("/nowhere").send().await.assert_error(404, "Not found");
    let metrics = metrics(&app).await;
    let expected = [
        "# HELP presence_build_info The version of the service",
        "# TYPE presence_build_info gauge",
        "presence_ready 1",
        "presence_health_check{check=\"registry\"} 0",
        "presence_instances{state=\"connected\"} 1",
        "presence_instances{state=\"loggedout\"} 0",
        "# HELP presence_presences_total Presences that were asked for, by what became of them",
        "# TYPE presence_presences_total counter",
        "presence_presences_total{state=\"typing\",outcome=\"written\"} 2",
        "presence_presences_total{state=\"recording\",outcome=\"written\"} 1",
        "presence_presences_total{state=\"pause\",outcome=\"written\"} 1",
        "presence_presences_total{state=\"typing\",outcome=\"not_connected\"} 0",
        "presence_indicators_active 0",
        "presence_resends_total 2",
        "# TYPE presence_auto_pause_lateness_seconds histogram",
        "presence_auto_pause_lateness_seconds_bucket{le=\"0.005\"} 1",
        "presence_auto_pause_lateness_seconds_bucket{le=\"+Inf\"} 1",
        "presence_auto_pause_lateness_seconds_count 1",
        "presence_indicators_ended_early_total{cause=\"newer\"} 1",
        "presence_indicators_ended_early_total{cause=\"pause\"} 1",
        "presence_indicators_ended_early_total{cause=\"message\"} 0",
        "presence_logins_total 1",
        "presence_reconnects_total 0",
        "presence_session_ends_total{reason=\"paired\"} 1",
        "presence_task_panics_total 0",
        "presence_http_requests_total{route=\"chat_presence\",status=\"2xx\"} 4",
        "presence_http_requests_total{route=\"none\",status=\"4xx\"} 1",
        "presence_http_request_duration_seconds_bucket{route=\"chat_presence\",le=\"60\"} 4",
        "presence_http_request_duration_seconds_count{route=\"chat_presence\"} 4",
    ];
    assert_lines(&metrics, &expected);
    for secret in [SHOP, CUSTOMER, "shop", &app.token] {
        assert!(!metrics.contains(secret), "{secret}");
    }
    assert!(!metrics.contains("evolution") && !metrics.contains("waha"));
}

#[tokio::test(start_paused = true)]
async fn presences_are_as_many_as_the_requests_for_them() {
    let app = TestApp::with(|options| options.http.metrics = true).await;
    app.connected("shop", SHOP).await;
    for state in ["typing", "recording", "pause"] {
        app.show(state, 5).await;
    }
    app.sandbox.fault(Fault::refuse()).unwrap();
    app.sandbox.drop_connections(phone(SHOP));
    app.wait_for_state("shop", "connecting").await;
    for _ in 0..4 {
        assert_eq!(app.presence(CUSTOMER, "typing", 5).await.status, 503);
    }
    // This one is refused before anybody asks the fleet.
    assert_eq!(app.presence("nobody", "typing", 5).await.status, 400);
    let metrics = metrics(&app).await;
    let answered = |class| {
        sum(
            &metrics,
            &format!("presence_http_requests_total{{route=\"chat_presence\",status=\"{class}\"}}"),
        )
    };
    assert_eq!((answered("2xx"), answered("4xx"), answered("5xx")), (3, 1, 4));
    assert_eq!(sum(&metrics, "presence_presences_total{"), 7);
    let refused = "presence_presences_total{state=\"typing\",outcome=\"not_connected\"}";
    assert_eq!(sum(&metrics, refused), 4);
    assert!(sum(&metrics, "presence_session_ends_total{reason=\"lost\"}") >= 1);
    let took = sum(&metrics, "presence_http_request_duration_seconds_count{");
    assert_eq!(took, sum(&metrics, "presence_http_requests_total{"));
}

#[tokio::test(start_paused = true)]
async fn refusals_and_streams_are_counted() {
    let app = TestApp::with(|options| {
        options.http.metrics = true;
        options.http.limits = Limits {
            requests: 2,
            new_instances: 1,
            failures: 2,
        };
    })
    .await;
    let mut follower = app.connect();
    let follow = format!(
        "GET /api/events HTTP/1.1\r\nhost: x\r\ntoken: {}\r\n\r\n",
        app.token
    );
    follower.write_all(follow.as_bytes()).await.unwrap();
    assert_ne!(follower.read(&mut [0; 1024]).await.unwrap(), 0);
    for _ in 0..2 {
        app.get("/api/instance/list").send().await;
        app.post("/api/instance/new").body("{}").send().await;
    }
    for _ in 0..3 {
        app.get("/api/instance/list").token("wrong").send().await;
    }
    let expected = [
        "presence_event_streams 1",
        "presence_rate_limited_total{limit=\"requests\"} 1",
        "presence_rate_limited_total{limit=\"new_instances\"} 1",
        "presence_rate_limited_total{limit=\"wrong_tokens\"} 1",
        "presence_tokens_refused_total 3",
    ];
    assert_lines(&metrics(&app).await, &expected);
}
