//! From a configuration to a running service, and back to nothing.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use presence_core::InstanceId;
use presence_store::{DataDir, DataLock, DeviceKeys, Edge as PinnedEdge, KeySource, Registry, Store};
use presence_wa::{DeviceId, Edge, Keys, WhatsApp, WhatsAppConfig};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::serve::Server;

/// The service on a data directory, listening. Sessions that were saved there are on their way back.
pub struct Service {
    server: Server,
    listener: TcpListener,
    config: Config,
    /// It ends with the service, at the latest; the next one goes on where it ended.
    _wiping: AbortOnDropHandle<()>,
    /// No other server may use the directory before the last session is closed.
    _lock: DataLock,
}

impl Service {
    /// Locks the data directory, opens what is in it, and listens.
    ///
    /// # Errors
    /// When another server runs on the directory, it belongs to another WhatsApp than the configured one, it
    /// holds device keys of which the registry knows nothing, it cannot be read, or the address cannot be
    /// listened on.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let dir = DataDir::open(&config.data_dir)
            .with_context(|| format!("cannot open the data directory {}", config.data_dir.display()))?;
        let lock = dir.lock()?;
        let key = config.token_key.clone().map_or(KeySource::File, KeySource::Given);
        let store = Store::open(&dir, key).await.context("cannot open the registry")?;
        let keys = dir.device_keys();
        keys.prepare().context("cannot open the device keys")?;
        if let Err(unfit) = store.check_keys(&keys).await {
            // Whoever restores presence.db now must not find a log of this one beside it.
            let _ = store.close().await;
            return Err(unfit.into());
        }
        let store = Arc::new(store);
        let edge = pinned(&config.edge);
        edge.check(store.edge())?;
        // Before any session: a port that is taken must not cost a login.
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;

        let registry: Arc<dyn Registry> = store.clone();
        let file = KeyFile {
            keys: keys.clone(),
            registry: registry.clone(),
        };
        let mut whatsapp = WhatsAppConfig::new(config.edge.clone(), Keys::File(Arc::new(file)));
        whatsapp.device_name.clone_from(&config.device_name);
        let whatsapp = WhatsApp::new(whatsapp)?;
        // Of these no session is opened any more. What is deleted from now on, its session wipes.
        let wiping = tokio::spawn(wipe_deleted(keys, registry.clone(), registry.deleted_unwiped()));
        let server = Server::new(
            registry,
            edge,
            whatsapp,
            config.fleet.clone(),
            config.http.clone(),
        );
        // What `presence-server account …` writes meanwhile.
        store.follow();
        Ok(Self {
            server,
            listener,
            config,
            _wiping: AbortOnDropHandle::new(wiping),
            _lock: lock,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is done. Then requests finish, indicators are paused and sessions closed, all
    /// bounded by the configured grace.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let grace = self.config.stop_grace;
        self.server
            .serve(self.listener, self.config.max_connections, stop, grace)
            .await;
        self.server.stop(grace).await;
    }
}

fn pinned(edge: &Edge) -> PinnedEdge {
    match edge {
        Edge::WhatsApp => PinnedEdge::WhatsApp,
        Edge::Sandbox { .. } => PinnedEdge::Sandbox,
    }
}

/// Wipes what is left of instances that were deleted while no server ran, or by one that was killed halfway.
async fn wipe_deleted(keys: DeviceKeys, registry: Arc<dyn Registry>, deleted: Vec<InstanceId>) {
    if let Err(error) = try_to_wipe_deleted(&keys, &*registry, deleted).await {
        tracing::warn!(
            error = &*error as &dyn Error,
            "cannot wipe the keys of deleted instances; the next start tries again"
        );
    }
}

async fn try_to_wipe_deleted(
    keys: &DeviceKeys,
    registry: &dyn Registry,
    deleted: Vec<InstanceId>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    if deleted.is_empty() {
        return Ok(());
    }
    let devices = keys.devices().await?;
    let (left, gone): (Vec<_>, Vec<_>) = deleted.into_iter().partition(|id| devices.contains(id));
    registry.mark_wiped(&gone).await?;
    for id in left {
        keys.wipe(id).await?;
        registry.mark_wiped(&[id]).await?;
        tracing::info!(device.id = %id, "wiped the keys of a deleted instance");
    }
    Ok(())
}

/// The store's key file, as the client's adapter asks for it.
struct KeyFile {
    keys: DeviceKeys,
    registry: Arc<dyn Registry>,
}

#[async_trait]
impl presence_wa::DeviceKeys for KeyFile {
    fn url(&self) -> String {
        self.keys.path().display().to_string()
    }

    async fn wipe(&self, device: DeviceId) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Some(id) = InstanceId::new(device.0) else {
            return Ok(());
        };
        self.keys.wipe(id).await?;
        // If it was deleted, nothing is left to be done about it.
        Ok(self.registry.mark_wiped(&[id]).await?)
    }
}
