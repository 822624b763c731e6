//! axum alone: an upper bound for every gateway that is written with it.

use axum::routing::post;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::answer;

/// Serves until it is ended.
pub(crate) async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let router = Router::new().route("/api/chat/presence/{instance}", post(respond));
    Ok(axum::serve(listener, router).await?)
}

async fn respond(Json(request): Json<answer::Request>) -> Json<answer::Answer> {
    Json(request.answer())
}
