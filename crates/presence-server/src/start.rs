//! From a configuration to a running service, and back to nothing.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use presence_api::{Finding, HealthCheck, Instances, Server};
use presence_store::{DataDir, DataLock, DeviceKeys, Edge as PinnedEdge, KeySource, Registry, Store};
use presence_wa::{DeviceId, Edge, Keys, WhatsApp, WhatsAppConfig};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::file_handles::FileHandles;

/// The service, listening. Nothing of its data directory is touched before it [runs](Self::run).
pub struct Service {
    server: Server,
    listener: TcpListener,
    probes: Option<TcpListener>,
    config: Config,
    handles: FileHandles,
}

impl Service {
    /// Listens, so that from here on clients are told how far the start is.
    ///
    /// # Errors
    /// When an address cannot be listened on. A port that is taken costs no login.
    pub async fn bind(mut config: Config) -> anyhow::Result<Self> {
        let handles = FileHandles::raise();
        config.http.max_connections = handles.connections(config.http.max_connections);
        let server = Server::new(config.http.clone());
        server.watch(Arc::new(handles));
        Ok(Self {
            listener: listen(config.listen).await?,
            probes: match config.probe_listen {
                Some(address) => Some(listen(address).await?),
                None => None,
            },
            server,
            config,
            handles,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where it listens for probes, if anywhere of their own.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn probe_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.probes.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Adds a check to `/health`, and its counters to `/metrics`.
    pub fn watch(&self, check: Arc<dyn HealthCheck>) {
        self.server.watch(check);
    }

    /// Answers at once, with what there is; locks the data directory, opens what is in it, and calls `ready`
    /// when requests are taken. Saved sessions are on their way back then. Serves until `stop` is done, which
    /// counts from the first moment. Then requests finish, indicators are paused and sessions closed, all at
    /// the same time and bounded by the configured grace.
    ///
    /// # Errors
    /// When another server runs on the data directory, it belongs to another WhatsApp than the configured one,
    /// it cannot be read, or `ready` fails.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Self {
            server,
            listener,
            probes,
            config,
            handles,
        } = self;
        // Apart from what follows: opening a file may hold up its own task.
        let accepting = tokio::spawn({
            let server = server.clone();
            async move {
                let probes = async {
                    if let Some(probes) = probes {
                        server.accept_probes(probes).await;
                    }
                };
                tokio::join!(server.accept(listener), probes);
            }
        });
        let watching = tokio::spawn(handles.tell_when_short());

        tokio::pin!(stop);
        // A task of its own too, so that `stop` is heard meanwhile.
        let mut opening = tokio::spawn(open(config.clone(), server.clone()));
        let opened = tokio::select! {
            opened = &mut opening => opened
                .context("opening the data directory failed")
                .and_then(|opened| opened)
                .and_then(|lock| ready().map(|()| Some(lock))),
            () = &mut stop => {
                opening.abort();
                Ok(None)
            }
        };
        if let Ok(Some(_)) = &opened {
            stop.await;
        }
        server.stop(config.stop_grace).await;
        watching.abort();
        accepting.await.context("accepting connections failed")?;
        // Until the last session was closed, no other server may use the directory.
        opened.map(drop)
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// Locks the data directory, and gives the server what is in it.
async fn open(config: Config, server: Server) -> anyhow::Result<DataLock> {
    let dir = DataDir::open(&config.data_dir)
        .with_context(|| format!("cannot open the data directory {}", config.data_dir.display()))?;
    let lock = dir.lock()?;
    let key = config.token_key.clone().map_or(KeySource::File, KeySource::Given);
    let store = Arc::new(Store::open(&dir, key).await.context("cannot open the registry")?);
    let edge = pinned(&config.edge);
    edge.check(store.edge())?;

    let keys = dir.device_keys();
    keys.prepare().context("cannot open the device keys")?;
    let registry: Arc<dyn Registry> = store.clone();
    let mut whatsapp = WhatsAppConfig::new(config.edge.clone(), Keys::File(Arc::new(KeyFile(keys.clone()))));
    whatsapp.device_name.clone_from(&config.device_name);
    let whatsapp = WhatsApp::new(whatsapp)?;
    wipe_orphans(&keys, &*registry).await;
    server.watch(Arc::new(DevicesCheck(keys)));
    server.open(Instances::new(registry, edge, whatsapp, config.fleet.clone()));
    // What `presence-server account …` writes meanwhile.
    store.follow();
    Ok(lock)
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

/// The check `devices`: the file with the keys of all sessions.
struct DevicesCheck(DeviceKeys);

#[async_trait]
impl HealthCheck for DevicesCheck {
    fn name(&self) -> &'static str {
        "devices"
    }

    async fn check(&self) -> Finding {
        Finding::of(self.0.devices().await.map(drop))
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
