//! From a configuration to a running service, and back to nothing.

mod alone;
mod node;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use presence_api::{HealthCheck, Instances, RegistryProxies, Server, TaskPanics};
use presence_core::InstanceId;
use presence_store::{Edge as PinnedEdge, KeyStore, Registry};
use presence_wa::{Edge, WhatsApp, WhatsAppConfig};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::config::{Config, Listen};
use crate::file_handles::FileHandles;

/// The service, listening. Nothing that it keeps is touched before it [runs](Self::run).
pub struct Service {
    server: Server,
    listener: TcpListener,
    probes: Option<TcpListener>,
    nodes: Option<TcpListener>,
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
            nodes: match &config.cluster {
                Some(cluster) => Some(listen(&cluster.listen).await?),
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

    /// Answers at once, with what there is; opens the data directory, or the database that several nodes share, and
    /// calls `ready` when requests are taken. Saved sessions are on their way back then. Serves until `stop` is done, which
    /// counts from the first moment, and for the configured delay after it. Then requests finish, indicators are paused
    /// and sessions closed, all at the same time and bounded by the configured grace.
    ///
    /// # Errors
    /// When another server runs on the data directory, it or the database belongs to another WhatsApp than the
    /// configured one, it cannot be read, `ready` fails, or the last changes of device keys could not be saved.
    pub async fn run(
        self,
        stop: impl Future<Output = ()>,
        ready: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Self {
            server,
            listener,
            probes,
            nodes,
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
                let nodes = async {
                    if let Some(nodes) = nodes {
                        server.accept_nodes(nodes).await;
                    }
                };
                tokio::join!(server.accept(listener), probes, nodes);
            }
        });
        let watching = tokio::spawn(handles.tell_when_short());

        tokio::pin!(stop);
        // A task of its own too, so that `stop` is heard meanwhile.
        let mut opening = tokio::spawn(open(config.clone(), server.clone()));
        let opened = tokio::select! {
            opened = &mut opening => opened
                .context("opening what is kept failed")
                .and_then(|opened| opened)
                .and_then(|lock| ready().map(|()| Some(lock))),
            () = &mut stop => {
                opening.abort();
                Ok(None)
            }
        };
        if let Ok(Some(_)) = &opened {
            stop.await;
            if !config.stop_delay.is_zero() {
                tracing::info!(delay = ?config.stop_delay, "going on for now, until load balancers have noticed");
                server.announce_stop();
                sleep(config.stop_delay).await;
            }
        }
        let stopping = Instant::now();
        server.stop(config.stop_grace).await;
        watching.abort();
        accepting.await.context("accepting connections failed")?;
        match opened? {
            Some(opened) => {
                opened
                    .close(time_to_save(config.stop_grace, stopping.elapsed()))
                    .await
            }
            None => Ok(()),
        }
    }
}

/// How long the last changes may take to be saved: what `grace` has left once sessions are closed. A disk that works
/// takes milliseconds; it has some time too when requests took it all.
fn time_to_save(grace: Duration, taken: Duration) -> Duration {
    grace.saturating_sub(taken).max(LEAST_TIME_TO_SAVE)
}

const LEAST_TIME_TO_SAVE: Duration = Duration::from_secs(2);

async fn listen(address: &Listen) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address.to_string())
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// What the service holds while it runs.
enum Opened {
    Alone(alone::Opened),
    Node(node::Opened),
}

impl Opened {
    /// Saves what the sessions, all of them closed, have left to be saved.
    ///
    /// # Errors
    /// When it is not saved within `time`.
    async fn close(self, time: Duration) -> anyhow::Result<()> {
        match self {
            Self::Alone(opened) => opened.close(time).await,
            Self::Node(opened) => opened.close(time).await,
        }
    }
}

/// Gives the server what is kept.
async fn open(config: Config, server: Server) -> anyhow::Result<Opened> {
    Ok(match &config.cluster {
        None => Opened::Alone(alone::open(&config, &server).await?),
        Some(cluster) => Opened::Node(node::open(&config, cluster, &server).await?),
    })
}

/// What opens sessions, with keys from `keys`.
fn whatsapp(
    config: &Config,
    keys: Arc<dyn KeyStore>,
    registry: &Arc<dyn Registry>,
) -> anyhow::Result<Arc<WhatsApp>> {
    let mut whatsapp = WhatsAppConfig::new(config.edge.clone(), keys);
    whatsapp.device_name.clone_from(&config.device_name);
    whatsapp.proxy_networks.clone_from(&config.proxy_networks);
    whatsapp.forget_peers_after = config.forget_peers_after;
    let proxies = Arc::new(RegistryProxies::new(Arc::clone(registry)));
    Ok(Arc::new(WhatsApp::new(whatsapp)?.with_proxies(proxies)))
}

/// Gives the server its instances.
fn serve(server: &Server, instances: Instances) {
    let panics = instances.clone();
    server.watch(Arc::new(TaskPanics::new(move || panics.task_panics())));
    server.open(instances);
}

fn pinned(edge: &Edge) -> PinnedEdge {
    match edge {
        Edge::WhatsApp => PinnedEdge::WhatsApp,
        Edge::Sandbox { .. } => PinnedEdge::Sandbox,
    }
}

/// Wipes what is left of instances that were deleted while no server ran, or by one that was killed halfway.
async fn wipe_deleted(keys: Arc<dyn KeyStore>, registry: Arc<dyn Registry>, deleted: Vec<InstanceId>) {
    if let Err(error) = try_to_wipe_deleted(&*keys, &*registry, deleted).await {
        tracing::warn!(
            error = &*error as &dyn Error,
            "cannot wipe the keys of deleted instances; the next start tries again"
        );
    }
}

async fn try_to_wipe_deleted(
    keys: &dyn KeyStore,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_changes_have_what_is_left_of_the_grace_and_never_none() {
        for (grace, taken, left) in [
            (7, 0, 7),
            (7, 1, 6),
            (7, 6, 2),
            (7, 9, 2),
            (0, 0, 2),
            (300, 10, 290),
        ] {
            let [grace, taken, left] = [grace, taken, left].map(Duration::from_secs);
            assert_eq!(time_to_save(grace, taken), left, "{taken:?} of {grace:?}");
        }
    }
}
