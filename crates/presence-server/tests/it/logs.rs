//! Whom the lines of the log are of.

use presence_sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::program::Data;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn the_log_names_a_request_by_its_id_and_an_instance_by_its_name() {
    let sandbox = Sandbox::builder().start().await.unwrap();
    let server = Data::new().serve_with_shop(&sandbox).await;
    let line =
        r#"instance.name="shop"}: presence_wa::instance::task::told: instance state changed state=connected"#;
    server.wait_for_log(line).await;

    let named = [
        ("x-request-id: mine-17".to_owned(), "mine-17"),
        (format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01"), TRACE),
    ];
    for (field, id) in named {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = format!(
            "GET /api/instance/list HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntoken: wrong\r\n{field}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(&format!("x-request-id: {id}\r\n")), "{answer}");
        server
            .wait_for_log(&format!(r#"request{{id="{id}" route="instance_list"}}"#))
            .await;
    }
}
