//! The binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// A running program; it is killed if the test fails before it has ended.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_presence-sandbox"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn it_announces_itself_in_one_line_and_ends_on_a_signal() {
    let mut program = Program(
        program(&["--listen", "127.0.0.1:0", "--expire-after", "0.5"])
            .spawn()
            .unwrap(),
    );
    let mut stdout = BufReader::new(program.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let control = ready["control_url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    assert_eq!(ready["edge_url"], format!("ws://{control}/ws/chat"));
    assert_eq!(
        BASE64_STANDARD
            .decode(ready["edge_key"].as_str().unwrap())
            .unwrap()
            .len(),
        32
    );

    assert_eq!(
        BASE64_STANDARD
            .decode(ready["edge_root"].as_str().unwrap())
            .unwrap()
            .len(),
        32
    );

    let mut stream = TcpStream::connect(control).unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let signalled = Command::new("kill")
        .args(["-TERM", &program.0.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    assert_eq!(program.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing but the one line");
}

#[test]
fn it_does_not_listen_where_others_could_reach_it() {
    let output = program(&["--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("loopback"));
}

#[test]
fn it_prints_the_settings_of_a_service() {
    let mut program = Program(
        program(&["--listen", "127.0.0.1:0", "--print-env"])
            .spawn()
            .unwrap(),
    );
    let mut stdout = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let mut line = || stdout.next().unwrap().unwrap();
    assert!(line().starts_with("PRESENCE_EDGE_URL=ws://127.0.0.1:"));
    assert!(line().starts_with("PRESENCE_EDGE_KEY="));
}
