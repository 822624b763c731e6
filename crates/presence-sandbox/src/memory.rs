//! The file in which a sandbox remembers its devices from one start to the next.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::hub::Hub;
use crate::world::Durable;

/// How long changes are collected before they are written.
const COLLECT: Duration = Duration::from_millis(100);

/// What is remembered in `path`; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read, or is something else.
pub(crate) fn load(path: &Path) -> io::Result<Option<Durable>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let durable: Durable = serde_json::from_slice(&text)?;
    if durable.secret().is_none() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the secret is not 32 bytes",
        ));
    }
    Ok(Some(durable))
}

/// Writes what is to be remembered to `path` whenever it has changed, until the sandbox stops.
pub(crate) async fn keep(hub: Arc<Hub>, path: PathBuf) {
    let mut changes = hub.changes();
    let mut written = None;
    let mut stopping = false;
    while !stopping {
        // Marked as seen before looking, so that a change in between is not missed.
        changes.borrow_and_update();
        let durable = hub.look(|world| world.durable());
        if written.as_ref() != Some(&durable) {
            let (to, what) = (path.clone(), durable.clone());
            // Blocking, because a disk may take its time.
            let saved = tokio::task::spawn_blocking(move || save(&to, &what)).await;
            match saved {
                Ok(Ok(())) => written = Some(durable),
                Ok(Err(error)) => {
                    tracing::error!(%error, "what the sandbox has to remember cannot be written");
                }
                Err(_) => return,
            }
        }
        tokio::select! {
            // The hub holds the sender, so it cannot be gone.
            _ = changes.changed() => tokio::time::sleep(COLLECT).await,
            () = hub.stop.cancelled() => stopping = true,
        }
    }
    // What changed in the last moments.
    let durable = hub.look(|world| world.durable());
    if written.as_ref() != Some(&durable)
        && let Err(error) = save(&path, &durable)
    {
        tracing::error!(%error, "what the sandbox has to remember cannot be written");
    }
}

/// Whole or not at all: a sandbox that is killed meanwhile finds what was there before.
fn save(path: &Path, durable: &Durable) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&serde_json::to_vec(durable)?)?;
    file.sync_all()?;
    fs::rename(beside, path)
}
