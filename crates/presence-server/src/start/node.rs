//! A server that is one node of several, which share a database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use presence_api::{CheckCounter, Finding, HealthCheck, Instances, Nodes, Server};
use presence_cluster::{Activity, Cluster, ClusterSettings, Sessions, Standing};
use presence_core::InstanceId;
use presence_store::{Epoch, Ledger, NodeId, Ownership, Postgres, PostgresKeyStore, Registry, StoreError};
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{pinned, serve, whatsapp, wipe_deleted};
use crate::config::{ClusterConfig, Config};

/// What the service holds while it runs.
pub(super) struct Opened {
    _wiping: AbortOnDropHandle<()>,
    _heeding: AbortOnDropHandle<()>,
    driving: JoinHandle<()>,
    keys: PostgresKeyStore,
    database: Postgres,
}

/// How long a device whose instance was connected elsewhere is left to whoever did that. It was no node of this
/// cluster, or the instance would not be this node's any more.
const REPLACED_AGAIN_AFTER: Duration = Duration::from_secs(30);

impl Opened {
    /// Saves what the sessions, all of them handed over or closed, have left to be saved.
    ///
    /// # Errors
    /// When it is not saved within `time`.
    pub(super) async fn close(self, time: Duration) -> anyhow::Result<()> {
        let Self {
            driving,
            keys,
            database,
            ..
        } = self;
        let close = async {
            let _ = driving.await;
            let is_all_written = keys.close().await;
            database.close().await;
            is_all_written
        };
        match timeout(time, close).await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the last changes could not be written to the database"),
            Err(_) => bail!("the last changes could not be written to the database in time"),
        }
    }
}

/// Opens what is in the database, enters the cluster, and gives the server its instances.
pub(super) async fn open(
    config: &Config,
    cluster_config: &ClusterConfig,
    server: &Server,
) -> anyhow::Result<Opened> {
    let key = cluster_config.token_key.clone();
    let database = Postgres::connect(&cluster_config.database)
        .await
        .context("cannot open the database")?;
    let store = database.open_registry(Some(key.clone())).await;
    let store = Arc::new(store.context("cannot open the registry")?);
    let edge = pinned(&config.edge);
    edge.check(store.edge())?;
    let keys = database.open_keys(key.clone());

    let registry: Arc<dyn Registry> = store.clone();
    let whatsapp = whatsapp(config, Arc::new(keys.clone()), &registry)?;
    let wiping = tokio::spawn(wipe_deleted(
        Arc::new(keys.clone()),
        registry.clone(),
        registry.deleted_unwiped(),
    ));
    let ledger: Arc<dyn Ledger> = database.ledger(key);
    let address = cluster_config.advertise_url.as_str().trim_end_matches('/');
    let (cluster, driver) = Cluster::new(ledger, ClusterSettings::new(address));
    let nodes = Nodes::new(cluster.clone(), cluster_config.secret.clone());
    let mut fleet = config.fleet.clone();
    fleet.retry.replaced_again_after = Some(REPLACED_AGAIN_AFTER);
    let instances = Instances::join(registry.clone(), edge, whatsapp, fleet, nodes);
    let sessions = Arc::new(NodeSessions {
        instances: instances.clone(),
        keys: keys.clone(),
        node: Mutex::default(),
    });
    let driving = tokio::spawn(driver.run(sessions));
    // Before that, it knows of no instance where it is.
    let mut standing = cluster.standing();
    if standing
        .wait_for(|standing| *standing != Standing::Outside)
        .await
        .is_err()
    {
        bail!("the cluster was not entered");
    }
    let fenced = Arc::<AtomicU64>::default();
    let heeding = tokio::spawn(heed_fence(keys.fenced(), cluster.clone(), Arc::clone(&fenced)));
    server.watch(Arc::new(ClusterCheck {
        cluster,
        driving: driving.abort_handle(),
    }));
    server.watch(Arc::new(KeysCheck {
        keys: keys.clone(),
        fenced,
    }));
    serve(server, instances);
    store.follow();
    tracing::info!(
        node = address,
        accounts = registry.accounts().len(),
        instances = registry.instance_count(),
        "entered the cluster, for sessions with {edge}"
    );
    Ok(Opened {
        _wiping: AbortOnDropHandle::new(wiping),
        _heeding: AbortOnDropHandle::new(heeding),
        driving,
        keys,
        database,
    })
}

/// The sessions of this node, and the right to write their keys.
struct NodeSessions {
    instances: Instances,
    keys: PostgresKeyStore,
    /// As which it was given what it has.
    node: Mutex<Option<NodeId>>,
}

impl NodeSessions {
    fn own(&self, taken: &[Ownership]) -> Result<(), StoreError> {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        for owner in taken.iter().filter_map(|ownership| ownership.node) {
            if node.replace(owner) != Some(owner) {
                self.keys.begin(owner)?;
            }
        }
        self.keys.own(taken)
    }

    fn disown(&self, lost: &[InstanceId]) {
        if let Err(error) = self.keys.disown(lost) {
            tracing::debug!(%error, "the device keys are closed already");
        }
    }
}

/// Has the ledger read when the database refuses a key because another node has its device.
async fn heed_fence(
    mut fenced: broadcast::Receiver<(InstanceId, Epoch)>,
    cluster: Cluster,
    count: Arc<AtomicU64>,
) {
    loop {
        match fenced.recv().await {
            Ok((instance, _)) => {
                tracing::warn!(instance.id = %instance, "another node has the instance: its keys were not written");
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                count.fetch_add(missed, Ordering::Relaxed);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
        if let Err(error) = cluster.refresh().await {
            tracing::debug!(%error, "who has an instance cannot be read");
        }
    }
}

#[async_trait]
impl Sessions for NodeSessions {
    fn take(&self, taken: &[Ownership]) {
        match self.own(taken) {
            Ok(()) => self.instances.take(taken),
            Err(error) => tracing::debug!(%error, "the device keys are closed already"),
        }
    }

    async fn hand_over(&self, instance: InstanceId) {
        self.instances.hand_over(instance).await;
        if let Err(error) = self.keys.flush().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, instance.id = %instance, "the last keys of a session could not be saved");
        }
        self.disown(&[instance]);
    }

    async fn give_up(&self, lost: &[InstanceId]) {
        self.disown(lost);
        self.instances.give_up(lost).await;
    }

    fn activity(&self, instance: InstanceId) -> Activity {
        self.instances.activity(instance)
    }

    fn wanted(&self) -> usize {
        self.instances.wanted()
    }
}

/// The check `cluster`: how this node stands.
struct ClusterCheck {
    cluster: Cluster,
    driving: AbortHandle,
}

#[async_trait]
impl HealthCheck for ClusterCheck {
    fn name(&self) -> &'static str {
        "cluster"
    }

    async fn check(&self) -> Finding {
        match *self.cluster.standing().borrow() {
            // A defect: this node acts for nobody any more, and others take what it has.
            Standing::Member | Standing::CutOff if self.driving.is_finished() => {
                Finding::Failed("stopped by a fault".to_owned())
            }
            Standing::Member | Standing::Leaving => Finding::Ok,
            Standing::CutOff => Finding::Failed("the database does not answer".to_owned()),
            Standing::Outside => Finding::Failed("not in the cluster".to_owned()),
        }
    }
}

/// The check `devices`: the keys of all sessions.
struct KeysCheck {
    keys: PostgresKeyStore,
    fenced: Arc<AtomicU64>,
}

#[async_trait]
impl HealthCheck for KeysCheck {
    fn name(&self) -> &'static str {
        "devices"
    }

    async fn check(&self) -> Finding {
        Finding::of(self.keys.check().await)
    }

    fn counters(&self) -> Vec<CheckCounter> {
        vec![
            CheckCounter {
                name: "presence_key_flushes",
                help: "Commits of device keys to the disk, each of all sessions together",
                value: self.keys.flushes(),
            },
            CheckCounter {
                name: "presence_key_writes_fenced",
                help: "Devices whose keys were not written, because another node had taken them",
                value: self.fenced.load(Ordering::Relaxed),
            },
        ]
    }
}
