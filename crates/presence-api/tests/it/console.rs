//! The page for people, as it is served. That it works, a browser tests (`cargo xtask console-test`).

use crate::app::TestApp;

async fn with_console() -> TestApp {
    TestApp::with(|options| options.http.console = true).await
}

#[tokio::test(start_paused = true)]
async fn the_console_is_there_when_it_is_on_and_needs_no_token() {
    let app = with_console().await;
    let root = app.get("/").no_token().send().await;
    assert_eq!((root.status, root.header("location")), (307, Some("console")));
    let page = app.get("/console").no_token().send().await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(page.text.contains("console/app.js"), "{}", page.text);
    // Its addresses are relative, so that it is in one place only.
    let below = app.get("/console/").no_token().send().await;
    assert_eq!(
        (below.status, below.header("location")),
        (308, Some("../console"))
    );
    for (path, kind) in [
        ("/console/app.js", "text/javascript; charset=utf-8"),
        ("/console/vendor/preact.mjs", "text/javascript; charset=utf-8"),
        ("/console/style.css", "text/css; charset=utf-8"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let file = app.get(path).no_token().send().await;
        assert_eq!(
            (file.status, file.header("content-type")),
            (200, Some(kind)),
            "{path}"
        );
    }
    for path in [
        "/console/none.js",
        "/console/vendor",
        "/console/vendor/LICENSE.htm",
        "/console/../app.js",
    ] {
        app.get(path)
            .no_token()
            .send()
            .await
            .assert_error(404, "Not found");
    }
    app.post("/console")
        .send()
        .await
        .assert_error(405, "Method not allowed");
}

#[tokio::test(start_paused = true)]
async fn it_may_load_nothing_from_elsewhere_and_nobody_may_frame_it() {
    let app = with_console().await;
    for path in ["/console", "/console/app.js"] {
        let file = app.get(path).no_token().send().await;
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("referrer-policy"), Some("no-referrer"));
    }
    let page = app.get("/console").no_token().send().await.text;
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains("onclick"));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_packed_for_who_can_unpack_it_and_sent_once() {
    let app = with_console().await;
    let get = || app.get("/console/style.css").no_token();
    let plain = get().send().await;
    assert_eq!(plain.header("content-encoding"), None);
    let size = |length: Option<&str>| length.unwrap().parse::<usize>().unwrap();
    let packed = app
        .call("HEAD", "/console/style.css")
        .header("accept-encoding", "br, gzip")
        .send()
        .await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(size(packed.header("content-length")) * 2 < size(plain.header("content-length")));
    let again = get()
        .header("if-none-match", plain.header("etag").unwrap())
        .send()
        .await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
}

#[tokio::test(start_paused = true)]
async fn off_there_is_nothing_of_it() {
    let app = TestApp::start().await;
    for path in ["/", "/console", "/console/", "/console/app.js"] {
        app.get(path)
            .no_token()
            .send()
            .await
            .assert_error(404, "Not found");
    }
}
