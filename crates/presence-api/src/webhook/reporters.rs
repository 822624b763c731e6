//! Which webhooks are told of which instances.

use std::collections::HashMap;
use std::sync::Arc;

use presence_core::InstanceId;
use presence_store::AccountId;
use presence_wa::AllowedNetworks;
use tokio_util::task::AbortOnDropHandle;

use super::reporter::{News, Reporter};
use super::target::Target;
use super::{WebhookCounters, WebhookSettings};
use crate::instances::Instances;
use crate::nodes::{Nodes, changed};

/// Whose a webhook is; `None` is the operator.
type Owner = Option<AccountId>;

/// Has every webhook told of its instances, for as long as it runs: of those there are, those that are created
/// later, and by whichever webhooks accounts then have.
pub(crate) async fn report(instances: Instances, settings: WebhookSettings, counters: Arc<WebhookCounters>) {
    let mut changes = instances.changes();
    let mut moves = instances.nodes().map(Nodes::changes);
    let mut reporters = Reporters::new(instances, settings, counters);
    loop {
        changes.mark_unchanged();
        if let Some(moves) = &mut moves {
            moves.mark_unchanged();
        }
        reporters.reconcile();
        let changed = tokio::select! {
            changed = changes.changed() => changed,
            changed = changed(&mut moves) => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

struct Reporters {
    instances: Instances,
    /// Where accounts' webhooks may be.
    networks: AllowedNetworks,
    counters: Arc<WebhookCounters>,
    targets: HashMap<Owner, Arc<Target>>,
    running: HashMap<(Owner, InstanceId), AbortOnDropHandle<()>>,
}

impl Reporters {
    fn new(instances: Instances, settings: WebhookSettings, counters: Arc<WebhookCounters>) -> Self {
        let operator = settings.operator.map(|webhook| {
            let (owner, anywhere) = ("the operator".to_owned(), AllowedNetworks::all());
            let target = Target::new(webhook, owner, anywhere, Arc::clone(&counters));
            (None, Arc::new(target))
        });
        Self {
            instances,
            networks: settings.networks,
            counters,
            targets: operator.into_iter().collect(),
            running: HashMap::new(),
        }
    }

    /// Begins what is missing, and ends what is of a webhook that is another now.
    fn reconcile(&mut self) {
        self.find_targets();
        if self.targets.is_empty() {
            return;
        }
        let instances = self.instances.all_here();
        for instance in &instances {
            let Some(account) = self.instances.account(instance.account) else {
                continue;
            };
            for owner in [None, Some(account.id)] {
                let Some(target) = self.targets.get(&owner) else {
                    continue;
                };
                self.running.entry((owner, instance.id)).or_insert_with(|| {
                    let name = account.name.to_string();
                    let reporter = Reporter {
                        news: News::new(self.instances.clone(), name, Arc::clone(instance)),
                        target: Arc::clone(target),
                    };
                    AbortOnDropHandle::new(tokio::spawn(reporter.run()))
                });
            }
        }
        // Those of deleted instances end by themselves, when that is told. Of what another node has, it tells.
        self.running.retain(|(_, id), reporter| {
            !reporter.is_finished() && (self.instances.has(*id) || self.instances.by_id(*id).is_none())
        });
    }

    fn find_targets(&mut self) {
        let accounts = self.instances.accounts();
        let mut now = HashMap::new();
        for account in &accounts {
            let webhook = match self.instances.webhook(account) {
                Ok(Some(webhook)) => webhook,
                Ok(None) => continue,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(account = %account.name, error, "the webhook of an account cannot be read");
                    continue;
                }
            };
            let owner = Some(account.id);
            let same = self
                .targets
                .remove(&owner)
                .filter(|target| *target.webhook() == webhook);
            let target = same.unwrap_or_else(|| {
                self.running.retain(|(of, _), _| *of != owner);
                let (name, networks) = (account.name.to_string(), self.networks.clone());
                Arc::new(Target::new(webhook, name, networks, Arc::clone(&self.counters)))
            });
            now.insert(owner, target);
        }
        now.extend(self.targets.remove_entry(&None));
        // What is left was removed.
        for (gone, _) in self.targets.drain() {
            self.running.retain(|(of, _), _| *of != gone);
        }
        self.targets = now;
    }
}
