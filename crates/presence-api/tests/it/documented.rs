//! Every answer that a test gets is held against the document of the API: its route, its status, its headers, its body.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};

use crate::app::Reply;

/// The document, in which an object has no other fields than those that are described: clients must bear more, but
/// what the service answers is to be told of.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::from_str(presence_api::openapi()).unwrap();
    close_objects(&mut document);
    document
});

/// Schemas by the pointer to them: some tests get thousands of answers.
static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Compiled>>>> = LazyLock::new(Mutex::default);

/// A schema, and those that it names.
struct Compiled {
    schemas: Schemas,
    schema: SchemaIndex,
}

/// Routes that the document leaves out: those of other gateways, and pages.
fn is_left_out(path: &str) -> bool {
    let segments: Vec<_> = path.split('/').skip(1).collect();
    matches!(
        segments.as_slice(),
        [] | ["console" | "docs" | "pair" | "chat" | "instance", ..]
            | ["api", "startTyping" | "stopTyping" | "sessions", ..]
            | ["api", _, "presence"]
    )
}

/// The answer is one that the document tells of.
#[track_caller]
pub(crate) fn assert_documented(method: &str, path: &str, reply: &Reply) {
    let path = path.strip_suffix('/').unwrap_or(path);
    if !is_left_out(path)
        && let Err(fault) = check(method, path, reply)
    {
        panic!(
            "{method} {path} answered {} {:?}: {fault}",
            reply.status, reply.text
        );
    }
}

/// What an event says is what the document says of it.
#[track_caller]
pub(crate) fn assert_event(name: &str, data: &Value) {
    let schema = match name {
        "snapshot" => "SnapshotEvent",
        "instance" => "InstanceEvent",
        "presence" => "PresenceEvent",
        other => panic!("there is no event {other}"),
    };
    let fault = validate(&format!("/components/schemas/{schema}"), data).err();
    assert_eq!(fault, None, "{name}: {data}");
}

fn check(method: &str, path: &str, reply: &Reply) -> Result<(), String> {
    // A path answers no other method than it says; a preflight asks with one of its own.
    let elsewhere = [(404, "Not found"), (405, "Method not allowed")];
    if elsewhere
        .iter()
        .any(|(status, text)| reply.status == *status && (method == "HEAD" || says(reply, text)))
        || (method == "OPTIONS" && reply.status == 204)
    {
        return Ok(());
    }
    let described = if method == "HEAD" { "GET" } else { method };
    let template = template_of(path).ok_or("the path is not described")?;
    let operation = pointer(&["paths", template, &described.to_lowercase()]);
    let operation = DOCUMENT
        .pointer(&operation)
        .map(|_| operation)
        .ok_or("the operation is not described")?;
    let mut answer = format!("{operation}/responses/{}", reply.status);
    let mut described = DOCUMENT.pointer(&answer).ok_or("the status is not described")?;
    if let Some(reference) = described["$ref"].as_str() {
        answer = reference.trim_start_matches('#').to_owned();
        described = DOCUMENT
            .pointer(&answer)
            .ok_or("the answer that is named is not there")?;
    }

    for name in reply.headers.keys().map(|name| name.as_str()) {
        let described = described["headers"].as_object();
        let mut described = described.into_iter().flat_map(|headers| headers.keys());
        if (name.starts_with("x-") && name != "x-accel-buffering" || name == "retry-after")
            && !described.any(|described| described.eq_ignore_ascii_case(name))
        {
            return Err(format!("the header {name} is not described"));
        }
    }
    if method == "HEAD" {
        return Ok(());
    }
    let kind = reply
        .header("content-type")
        .and_then(|kind| kind.split(';').next());
    let Some(content) = described["content"].as_object() else {
        return (reply.text.is_empty() && kind.is_none())
            .then_some(())
            .ok_or("no body is described".to_owned());
    };
    let kind = kind.filter(|kind| content.contains_key(*kind));
    let kind = kind.ok_or("the media type is not described")?;
    if kind != "application/json" {
        return Ok(());
    }
    let schema = format!("{answer}{}/schema", pointer(&["content", kind]));
    validate(&schema, &reply.json())?;
    match content[kind]["examples"].as_object() {
        Some(examples) if reply.status >= 400 => {
            let mut texts = examples
                .values()
                .filter_map(|example| example["summary"].as_str());
            texts
                .any(|text| says(reply, text))
                .then_some(())
                .ok_or("the message is not described".to_owned())
        }
        _ => Ok(()),
    }
}

/// The error's message is `text`, in which `…` stands for anything.
fn says(reply: &Reply, text: &str) -> bool {
    let Ok(body) = serde_json::from_str::<Value>(&reply.text) else {
        return false;
    };
    let message = body["error"]["message"].as_str().unwrap_or_default();
    match text.split_once('…') {
        Some((start, end)) => message.starts_with(start) && message.ends_with(end),
        None => message == text,
    }
}

fn template_of(path: &str) -> Option<&'static str> {
    let fits =
        |template: &str| {
            let (mut expected, mut found) = (template.split('/'), path.split('/'));
            expected.by_ref().zip(found.by_ref()).all(|(expected, found)| {
                expected == found || (expected.starts_with('{') && !found.is_empty())
            }) && template.split('/').count() == path.split('/').count()
        };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.keys().map(String::as_str).find(|template| fits(template))
}

/// `value` is as the schema at `pointer` says.
fn validate(pointer: &str, value: &Value) -> Result<(), String> {
    let compiled = {
        let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = compiled.entry(pointer.to_owned());
        schema.or_insert_with(|| Arc::new(compile(pointer))).clone()
    };
    let Compiled { schemas, schema } = &*compiled;
    schemas
        .validate(value, *schema)
        .map_err(|fault| format!("{fault:#}"))
}

fn compile(pointer: &str) -> Compiled {
    const RESOURCE: &str = "file:///openapi.json";
    let mut compiler = Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource(RESOURCE, DOCUMENT.clone()).unwrap();
    let mut schemas = Schemas::new();
    let schema = compiler
        .compile(&format!("{RESOURCE}#{pointer}"), &mut schemas)
        .unwrap();
    Compiled { schemas, schema }
}

/// A JSON pointer to what these keys lead to.
fn pointer(keys: &[&str]) -> String {
    keys.iter()
        .map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
        .collect()
}

fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close_objects);
            if fields.get("type") == Some(&json!("object")) && fields.contains_key("properties") {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close_objects),
        _ => {}
    }
}

#[test]
fn what_the_document_does_not_tell_of_is_noticed() {
    let reply = |status: u16, text: &str| Reply {
        status,
        headers: hyper::HeaderMap::from_iter([
            (hyper::header::CONTENT_TYPE, "application/json".parse().unwrap()),
            ("x-request-id".parse().unwrap(), "1".parse().unwrap()),
        ]),
        text: text.to_owned(),
    };
    let error = crate::app::error;
    let sent = r#"{"success":true,"message":"m","chat_jid":"1@lid","state":"typing","duration":5}"#;
    let rows = [
        ("POST", 200, sent.to_owned(), None),
        ("POST", 200, sent.replace("5}", "61}"), Some("at '/duration'")),
        (
            "POST",
            200,
            sent.replace("typing", "singing"),
            Some("at '/state'"),
        ),
        ("POST", 200, sent.replace("true", "false"), Some("at '/success'")),
        ("POST", 200, sent.replace("5}", "5,\"more\":1}"), Some("'more'")),
        ("POST", 200, sent.replace("1@lid", "+1"), Some("at '/chat_jid'")),
        ("POST", 201, sent.to_owned(), Some("the status is not described")),
        (
            "DELETE",
            200,
            sent.to_owned(),
            Some("the operation is not described"),
        ),
        ("POST", 401, error("Invalid token"), None),
        ("POST", 401, error("No"), Some("the message is not described")),
        ("POST", 405, error("Method not allowed"), None),
        ("POST", 200, error("Invalid token"), Some("missing properties")),
    ];
    for (method, status, text, expected) in rows {
        let found = check(method, "/api/chat/presence/shop", &reply(status, &text)).err();
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) if found.contains(expected) => {}
            _ => panic!("{method} {status} {text}: {found:?}, and not {expected:?}"),
        }
    }
    let elsewhere = check("GET", "/api/nothing", &reply(200, "{}")).unwrap_err();
    assert_eq!(elsewhere, "the path is not described");
}
