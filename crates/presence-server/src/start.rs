//! From a configuration to a running service, and back to nothing.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use presence_api::{CheckCounter, Finding, HealthCheck, Instances, RegistryProxies, Server, TaskPanics};
use presence_core::InstanceId;
use presence_store::{
    DataDir, DataLock, Edge as PinnedEdge, KeySource, KeyStore, Registry, SqliteKeyStore, Store,
};
use presence_wa::{Edge, WhatsApp, WhatsAppConfig, import_client_store};
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
        if let Some(opened) = opened? {
            opened.close().await;
        }
        Ok(())
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
    keys: SqliteKeyStore,
    /// No other server may use the directory before the last key is saved.
    _lock: DataLock,
}

/// How long the last changes of device keys may take to be saved. A disk that works takes milliseconds.
const LAST_SAVE: Duration = Duration::from_secs(2);

impl Opened {
    /// Saves what the sessions, all of them closed, have left to be saved.
    async fn close(self) {
        if tokio::time::timeout(LAST_SAVE, self.keys.close()).await.is_err() {
            tracing::error!("the last changes of device keys could not be saved in time");
        }
    }
}

/// Locks the data directory, and gives the server what is in it.
async fn open(config: Config, server: Server) -> anyhow::Result<Opened> {
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
    let mut whatsapp = WhatsAppConfig::new(config.edge.clone(), Arc::new(keys.clone()));
    whatsapp.device_name.clone_from(&config.device_name);
    whatsapp.proxy_networks.clone_from(&config.proxy_networks);
    whatsapp.forget_peers_after = config.forget_peers_after;
    let proxies = Arc::new(RegistryProxies::new(registry.clone()));
    let whatsapp = Arc::new(WhatsApp::new(whatsapp)?.with_proxies(proxies));
    // Of these no session is opened any more. What is deleted from now on, its session wipes.
    let wiping = tokio::spawn(wipe_deleted(
        keys.clone(),
        registry.clone(),
        registry.deleted_unwiped(),
    ));
    server.watch(Arc::new(DevicesCheck(keys.clone())));
    let instances = Instances::open(registry.clone(), edge, whatsapp, config.fleet.clone()).await;
    let panics = instances.clone();
    server.watch(Arc::new(TaskPanics::new(move || panics.task_panics())));
    server.open(instances);
    tell_what_there_is(&dir, &edge, &*registry);
    // What `presence-server account …` writes meanwhile.
    store.follow();
    Ok(Opened {
        _wiping: AbortOnDropHandle::new(wiping),
        keys,
        _lock: lock,
    })
}

fn pinned(edge: &Edge) -> PinnedEdge {
    match edge {
        Edge::WhatsApp => PinnedEdge::WhatsApp,
        Edge::Sandbox { .. } => PinnedEdge::Sandbox,
    }
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

/// Wipes what is left of instances that were deleted while no server ran, or by one that was killed halfway.
async fn wipe_deleted(keys: SqliteKeyStore, registry: Arc<dyn Registry>, deleted: Vec<InstanceId>) {
    if let Err(error) = try_to_wipe_deleted(&keys, &*registry, deleted).await {
        tracing::warn!(
            error = &*error as &dyn Error,
            "cannot wipe the keys of deleted instances; the next start tries again"
        );
    }
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

async fn try_to_wipe_deleted(
    keys: &SqliteKeyStore,
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
