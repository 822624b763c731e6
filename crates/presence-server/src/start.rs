//! From a configuration to a running service, and back to nothing.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use presence_api::Server;
use presence_store::{DataDir, DataLock, DeviceKeys, Edge as PinnedEdge, KeySource, Registry, Store};
use presence_wa::{DeviceId, Edge, Keys, WhatsApp, WhatsAppConfig};
use tokio::net::TcpListener;

use crate::config::Config;

/// The service on a data directory, listening. Sessions that were saved there are on their way back.
pub struct Service {
    server: Server,
    listener: TcpListener,
    config: Config,
    /// No other server may use the directory before the last session is closed.
    _lock: DataLock,
}

impl Service {
    /// Locks the data directory, opens what is in it, and listens.
    ///
    /// # Errors
    /// When another server runs on the directory, it belongs to another WhatsApp than the configured one, it
    /// cannot be read, or the address cannot be listened on.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let dir = DataDir::open(&config.data_dir)
            .with_context(|| format!("cannot open the data directory {}", config.data_dir.display()))?;
        let lock = dir.lock()?;
        let key = config.token_key.clone().map_or(KeySource::File, KeySource::Given);
        let store = Arc::new(Store::open(&dir, key).await.context("cannot open the registry")?);
        let edge = pinned(&config.edge);
        edge.check(store.edge())?;
        // Before any session: a port that is taken must not cost a login.
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;

        let keys = dir.device_keys();
        keys.prepare().context("cannot open the device keys")?;
        let registry: Arc<dyn Registry> = store.clone();
        let mut whatsapp =
            WhatsAppConfig::new(config.edge.clone(), Keys::File(Arc::new(KeyFile(keys.clone()))));
        whatsapp.device_name.clone_from(&config.device_name);
        let whatsapp = WhatsApp::new(whatsapp)?;
        wipe_orphans(&keys, &*registry).await;
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

/// Wipes keys whose instance is gone: it was deleted while no server ran, or by one that was killed halfway.
async fn wipe_orphans(keys: &DeviceKeys, registry: &dyn Registry) {
    let devices = match keys.devices().await {
        Ok(devices) => devices,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn Error,
                "cannot look for keys of deleted instances"
            );
            return;
        }
    };
    let instances: BTreeSet<i32> = registry
        .all_instances()
        .iter()
        .map(|instance| instance.id.device())
        .collect();
    for device in devices.difference(&instances) {
        match keys.wipe(*device).await {
            Ok(()) => tracing::info!(device.id = device, "wiped the keys of a deleted instance"),
            Err(error) => tracing::warn!(
                error = &error as &dyn Error,
                device.id = device,
                "cannot wipe keys"
            ),
        }
    }
}

/// The store's key file, as the client's adapter asks for it.
struct KeyFile(DeviceKeys);

#[async_trait]
impl presence_wa::DeviceKeys for KeyFile {
    fn url(&self) -> String {
        self.0.path().display().to_string()
    }

    async fn wipe(&self, device: DeviceId) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.wipe(device.0).await?)
    }
}
