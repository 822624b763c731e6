//! A registry in trouble: its disk fails, or answers late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use presence_store::{
    Account, AccountId, AccountName, Caller, CreateAccountError, CreateInstanceError, Edge, Instance,
    InstanceId, NewInstance, PinEdgeError, Registry, SecretText, Store, StoreError, Token,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::app::{SHOP, TestApp, secs};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The first deletion of an instance fails.
    FirstDeletion,
    /// That an instance is to be kept online is acknowledged this long after it was written.
    KeepOnlineAcknowledged(Duration),
    /// What others wrote is not there to be read: whoever looks waits.
    Unreadable,
}

/// A registry that does what the one inside does, but for its trouble.
pub(crate) struct Troubled {
    inside: Arc<Store>,
    trouble: Trouble,
    deletion_failed: AtomicBool,
}

impl Troubled {
    pub(crate) fn new(inside: Arc<Store>, trouble: Trouble) -> Self {
        Self {
            inside,
            trouble,
            deletion_failed: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Registry for Troubled {
    async fn set_keep_online(&self, id: InstanceId, keep_online: bool) -> Result<bool, StoreError> {
        let set = self.inside.set_keep_online(id, keep_online).await;
        if let (true, Trouble::KeepOnlineAcknowledged(late)) = (keep_online, self.trouble) {
            sleep(late).await;
        }
        set
    }

    async fn delete_instance(&self, id: InstanceId) -> Result<bool, StoreError> {
        if self.trouble == Trouble::FirstDeletion && !self.deletion_failed.swap(true, Ordering::Relaxed) {
            return Err(StoreError::Corrupt { what: "sector" });
        }
        self.inside.delete_instance(id).await
    }

    async fn set_proxy(&self, id: InstanceId, proxy: Option<SecretText>) -> Result<bool, StoreError> {
        self.inside.set_proxy(id, proxy).await
    }

    fn instance_proxy(&self, instance: &Instance) -> Result<Option<SecretText>, StoreError> {
        self.inside.instance_proxy(instance)
    }

    async fn set_webhook(&self, id: AccountId, webhook: Option<SecretText>) -> Result<bool, StoreError> {
        self.inside.set_webhook(id, webhook).await
    }

    fn account_webhook(&self, account: &Account) -> Result<Option<SecretText>, StoreError> {
        self.inside.account_webhook(account)
    }

    fn authenticate(&self, token: &str) -> Option<Caller> {
        self.inside.authenticate(token)
    }

    fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        self.inside.account(id)
    }

    fn account_named(&self, name: &str) -> Option<Arc<Account>> {
        self.inside.account_named(name)
    }

    fn accounts(&self) -> Vec<Arc<Account>> {
        self.inside.accounts()
    }

    fn instance(&self, account: AccountId, name: &str) -> Option<Arc<Instance>> {
        self.inside.instance(account, name)
    }

    fn instance_by_id(&self, id: InstanceId) -> Option<Arc<Instance>> {
        self.inside.instance_by_id(id)
    }

    fn instances(&self, account: AccountId) -> Vec<Arc<Instance>> {
        self.inside.instances(account)
    }

    fn all_instances(&self) -> Vec<Arc<Instance>> {
        self.inside.all_instances()
    }

    fn was_deleted(&self, id: InstanceId) -> bool {
        self.inside.was_deleted(id)
    }

    fn instance_count(&self) -> usize {
        self.inside.instance_count()
    }

    fn instance_token(&self, instance: &Instance) -> Result<Token, StoreError> {
        self.inside.instance_token(instance)
    }

    fn edge(&self) -> Option<Edge> {
        self.inside.edge()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inside.changes()
    }

    fn changed_since(&self, count: u64) -> Option<BTreeSet<InstanceId>> {
        self.inside.changed_since(count)
    }

    fn deleted_unwiped(&self) -> Vec<InstanceId> {
        self.inside.deleted_unwiped()
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        if self.trouble == Trouble::Unreadable {
            return std::future::pending().await;
        }
        self.inside.refresh().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inside.check().await
    }

    async fn set_banned_until(
        &self,
        id: InstanceId,
        until: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError> {
        self.inside.set_banned_until(id, until).await
    }

    async fn touch(&self, used: &[(InstanceId, DateTime<Utc>)]) -> Result<(), StoreError> {
        self.inside.touch(used).await
    }

    async fn mark_wiped(&self, ids: &[InstanceId]) -> Result<(), StoreError> {
        self.inside.mark_wiped(ids).await
    }

    async fn create_account(
        &self,
        name: AccountName,
        quota: Option<u32>,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Account>, Token), CreateAccountError> {
        self.inside.create_account(name, quota, now).await
    }

    async fn rotate_account(&self, id: AccountId) -> Result<Option<Token>, StoreError> {
        self.inside.rotate_account(id).await
    }

    async fn delete_account(&self, id: AccountId) -> Result<bool, StoreError> {
        self.inside.delete_account(id).await
    }

    async fn create_instance(
        &self,
        account: AccountId,
        new: NewInstance,
    ) -> Result<(Arc<Instance>, Token), CreateInstanceError> {
        self.inside.create_instance(account, new).await
    }

    async fn set_logged_out(&self, id: InstanceId, logged_out: bool) -> Result<bool, StoreError> {
        self.inside.set_logged_out(id, logged_out).await
    }

    async fn pin_edge(&self, edge: Edge) -> Result<(), PinEdgeError> {
        self.inside.pin_edge(edge).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_could_not_be_deleted_can_be_linked_and_deleted() {
    let app = TestApp::in_trouble(Trouble::FirstDeletion).await;
    app.connected("shop", SHOP).await;
    let deletion = || app.delete("/api/instance/delete/shop").send();
    deletion().await.assert_error(500, "Internal server error");
    assert_eq!(app.state("shop").await, "disconnected");
    app.link("shop", SHOP).await;
    assert_eq!(deletion().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_at_once_the_session_follows_the_one_that_stays() {
    let app = TestApp::in_trouble(Trouble::KeepOnlineAcknowledged(secs(1.0))).await;
    app.connected("shop", SHOP).await;
    let change = async |keep: bool| {
        let call = app.post("/api/instance/settings/shop");
        let reply = call.json(&json!({ "keepOnlineStatus": keep })).send().await;
        assert_eq!(reply.json()["settings"]["keepOnlineStatus"], keep);
    };
    let later = async {
        sleep(secs(0.5)).await;
        change(false).await;
    };
    tokio::join!(change(true), later);
    sleep(secs(1.0)).await;

    let shown = app.get("/api/instance/getSettings/shop").send().await.json();
    assert_eq!(shown["settings"]["keepOnlineStatus"], false);
    let sent = app.sent(SHOP);
    let (_, last) = sent.last().expect("it says how it is when it connects");
    assert!(last.contains("unavailable"), "{sent:?}");
}
