//! The API for people, as it is served. That it works, a browser tests (`cargo xtask console-test`).

use crate::app::TestApp;

#[tokio::test(start_paused = true)]
async fn the_page_is_there_unless_it_is_off_and_needs_no_token() {
    let app = TestApp::start().await;
    let page = app.get("/docs").no_token().send().await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let below = app.get("/docs/").no_token().send().await;
    assert_eq!((below.status, below.header("location")), (308, Some("../docs")));
    for named in page
        .text
        .split(['"', '\''])
        .filter(|text| text.starts_with("docs/"))
    {
        let file = app.get(&format!("/{named}")).no_token().send().await;
        assert_eq!(file.status, 200, "{named}");
    }
    let off = TestApp::with(|options| options.http.docs = false).await;
    for path in ["/docs", "/docs/", "/docs/style.css"] {
        off.get(path)
            .no_token()
            .send()
            .await
            .assert_error(404, "Not found");
    }
}

#[tokio::test(start_paused = true)]
async fn it_may_load_and_call_nothing_elsewhere_and_nobody_may_frame_it() {
    let app = TestApp::start().await;
    for path in ["/docs", "/docs/vendor/openapi-explorer.min.js"] {
        let file = app.get(path).no_token().send().await;
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(
            !policy.contains("http") && !policy.contains("script-src"),
            "{policy}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_library_travels_packed_and_is_unpacked_for_who_cannot() {
    let app = TestApp::start().await;
    let get = |method| {
        app.call(method, "/docs/vendor/openapi-explorer.min.js")
            .no_token()
    };
    let plain = get("GET").send().await;
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.text.contains("openapi-explorer"));
    let packed = get("HEAD").header("accept-encoding", "gzip").send().await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let size: usize = packed.header("content-length").unwrap().parse().unwrap();
    assert!(size * 3 < plain.text.len() && size < 250_000, "{size}");
}
