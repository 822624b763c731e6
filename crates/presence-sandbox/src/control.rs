//! The control API.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;

use crate::hub::Hub;

pub(crate) async fn answer(_hub: &Hub, _request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(error(StatusCode::NOT_FOUND, "no such route"))
}

pub(crate) fn error(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let body = json!({ "error": { "message": message } }).to_string();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
