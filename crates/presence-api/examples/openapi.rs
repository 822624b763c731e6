//! Prints the API as a document of OpenAPI. `cargo xtask openapi` writes it to `docs/openapi.json`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().lock().write_all(presence_api::openapi().as_bytes())
}
