//! From a configuration to a running service, and back to nothing.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use presence_api::{Finding, HealthCheck, Instances, RegistryProxies, Server, TaskPanics};
use presence_core::InstanceId;
use presence_store::{DataLock, DeviceKeys, Edge as PinnedEdge, KeySource, Registry, Store};
use presence_wa::{Edge, Keys, LinkedDevice, WhatsApp, WhatsAppConfig};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, Listen};
use crate::data_dir;
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
            listener: listen(&config.listen).await?,
            probes: match &config.probe_listen {
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

async fn listen(address: &Listen) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address.to_string())
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// What the service holds while it runs.
struct Opened {
    /// It ends with the service, at the latest; the next one goes on where it ended.
    _wiping: AbortOnDropHandle<()>,
    /// No other server may use the directory before the last session is closed.
    _lock: DataLock,
}

/// Locks the data directory, and gives the server what is in it.
async fn open(config: Config, server: Server) -> anyhow::Result<Opened> {
    let dir = data_dir::open(&config.data_dir)?;
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

    let registry: Arc<dyn Registry> = store.clone();
    let file = KeyFile {
        keys: keys.clone(),
        registry: registry.clone(),
    };
    let mut whatsapp = WhatsAppConfig::new(config.edge.clone(), Keys::File(Arc::new(file)));
    whatsapp.device_name.clone_from(&config.device_name);
    whatsapp.proxy_networks.clone_from(&config.proxy_networks);
    let proxies = Arc::new(RegistryProxies::new(registry.clone()));
    let whatsapp = Arc::new(WhatsApp::new(whatsapp)?.with_proxies(proxies));
    // Of these no session is opened any more. What is deleted from now on, its session wipes.
    let wiping = tokio::spawn(wipe_deleted(
        keys.clone(),
        registry.clone(),
        registry.deleted_unwiped(),
    ));
    server.watch(Arc::new(DevicesCheck(keys)));
    let instances = Instances::open(registry, edge, whatsapp, config.fleet.clone()).await;
    let panics = instances.clone();
    server.watch(Arc::new(TaskPanics::new(move || panics.task_panics())));
    server.open(instances);
    // What `presence-server account …` writes meanwhile.
    store.follow();
    Ok(Opened {
        _wiping: AbortOnDropHandle::new(wiping),
        _lock: lock,
    })
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

/// The check `devices`: the file with the keys of all sessions.
struct DevicesCheck(DeviceKeys);

#[async_trait]
impl HealthCheck for DevicesCheck {
    fn name(&self) -> &'static str {
        "devices"
    }

    async fn check(&self) -> Finding {
        Finding::of(self.0.check().await)
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
        tracing::info!(instance.id = %id, "wiped the keys of a deleted instance");
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

    async fn linked(&self) -> Result<Vec<LinkedDevice>, Box<dyn Error + Send + Sync>> {
        let linked = self.keys.linked().await?.into_iter();
        let linked = linked.map(|device| LinkedDevice {
            instance: device.instance,
            pn: device.pn,
            push_name: device.push_name,
        });
        Ok(linked.collect())
    }

    async fn wipe(&self, instance: InstanceId) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.keys.wipe(instance).await?;
        // If it was deleted, nothing is left to be done about it.
        Ok(self.registry.mark_wiped(&[instance]).await?)
    }
}
