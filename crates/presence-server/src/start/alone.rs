//! A server that is alone: everything is in its data directory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use presence_api::{CheckCounter, Finding, HealthCheck, Instances, Server};
use presence_store::{DataDir, DataLock, Edge as PinnedEdge, KeySource, Registry, SqliteKeyStore, Store};
use presence_wa::import_client_store;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{pinned, serve, whatsapp, wipe_deleted};
use crate::config::Config;
use crate::data_dir;

/// What the service holds while it runs.
pub(super) struct Opened {
    /// It ends with the service, at the latest; the next one goes on where it ended.
    _wiping: AbortOnDropHandle<()>,
    keys: SqliteKeyStore,
    /// No other server may use the directory before the last key is saved.
    _lock: DataLock,
}

impl Opened {
    /// Saves what the sessions, all of them closed, have left to be saved.
    ///
    /// # Errors
    /// When it is not saved within `time`.
    pub(super) async fn close(self, time: Duration) -> anyhow::Result<()> {
        match timeout(time, self.keys.close()).await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the last changes of device keys could not be saved"),
            Err(_) => bail!("the last changes of device keys could not be saved in time"),
        }
    }
}

/// Locks the data directory, and gives the server what is in it.
pub(super) async fn open(config: &Config, server: &Server) -> anyhow::Result<Opened> {
    let dir = data_dir::open(&config.data_dir)?;
    let lock = dir.lock()?;
    let key = config.token_key.clone().map_or(KeySource::File, KeySource::Given);
    let store = Store::open(&dir, key).await.context("cannot open the registry")?;
    let keys = dir
        .open_keys(&lock, &store)
        .await
        .context("cannot open the device keys")?;
    let checked = async {
        take_over_old_keys(&dir, &keys).await?;
        store.check_keys(&keys).await?;
        Ok::<_, anyhow::Error>(())
    };
    if let Err(unfit) = checked.await {
        // Whoever restores a file now must not find a log of this one beside it.
        keys.close().await;
        let _ = store.close().await;
        return Err(unfit);
    }
    let store = Arc::new(store);
    let edge = pinned(&config.edge);
    edge.check(store.edge())?;

    let registry: Arc<dyn Registry> = store.clone();
    let whatsapp = whatsapp(config, Arc::new(keys.clone()), &registry)?;
    // Of these no session is opened any more. What is deleted from now on, its session wipes.
    let wiping = tokio::spawn(wipe_deleted(
        Arc::new(keys.clone()),
        registry.clone(),
        registry.deleted_unwiped(),
    ));
    server.watch(Arc::new(DevicesCheck(keys.clone())));
    let instances = Instances::open(registry.clone(), edge, whatsapp, config.fleet.clone()).await;
    serve(server, instances);
    tell_what_there_is(&dir, &edge, &*registry);
    // What `presence-server account …` writes meanwhile.
    store.follow();
    Ok(Opened {
        _wiping: AbortOnDropHandle::new(wiping),
        keys,
        _lock: lock,
    })
}

/// Says what was opened; and to whom it is new, what to do next.
fn tell_what_there_is(dir: &DataDir, edge: &PinnedEdge, registry: &dyn Registry) {
    let (accounts, instances) = (registry.accounts().len(), registry.all_instances().len());
    let path = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().to_owned());
    let path = path.display();
    tracing::info!(
        data_dir = %path,
        accounts,
        instances,
        "opened the data directory, for sessions with {edge}"
    );
    if accounts == 0 {
        tracing::info!(
            "there is no account yet: make one with \"presence-server account new NAME --data-dir {path}\""
        );
    } else if instances == 0 {
        tracing::info!(
            "there is no instance yet: make one with \"presence-server instance new NAME\", with an account's token"
        );
    }
}

/// Takes over the keys that an earlier version left in devices.db, the first time that this one starts.
async fn take_over_old_keys(dir: &DataDir, keys: &SqliteKeyStore) -> anyhow::Result<()> {
    let Some(old) = dir.old_keys(keys).await? else {
        return Ok(());
    };
    let devices = import_client_store(old.path(), keys).await?;
    old.retire(keys).await?;
    tracing::info!(
        devices,
        "took the device keys over from devices.db, which is devices.db.imported now"
    );
    Ok(())
}

/// The check `devices`: the keys of all sessions.
struct DevicesCheck(SqliteKeyStore);

#[async_trait]
impl HealthCheck for DevicesCheck {
    fn name(&self) -> &'static str {
        "devices"
    }

    async fn check(&self) -> Finding {
        Finding::of(self.0.check().await)
    }

    fn counters(&self) -> Vec<CheckCounter> {
        vec![CheckCounter {
            name: "presence_key_flushes",
            help: "Commits of device keys to the disk, each of all sessions together",
            value: self.0.flushes(),
        }]
    }
}
