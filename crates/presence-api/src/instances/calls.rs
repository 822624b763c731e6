//! What a client can ask of an instance: each is done where the instance is, in the order that leaves nothing wrong
//! behind if the process is killed in the middle of it.

use std::sync::Arc;

use presence_core::{ChatJid, ChatPresence, InstanceId, PresenceSent, Shown};
use presence_store::{AccountId, CreateInstanceError, Instance, NewInstance, StoreError, Token};
use presence_wa::{ConnectError, Connected, PairWith, Proxy, ReconnectError, SavedKeys, ShowError};

use super::error::elsewhere;
use super::{ChangeError, Instances, RouteError};
use crate::nodes::{ApplySettings, Connect, LogOut, NoOwner, Reconnect, Remove, Show, ShownChat, ShownIn};
use crate::proxy::{self, KeptProxyError};

impl Instances {
    /// Creates an instance. It is disconnected until a phone links it.
    pub(crate) async fn create(
        &self,
        account: AccountId,
        new: NewInstance,
    ) -> Result<(Arc<Instance>, Token), ChangeError<CreateInstanceError>> {
        self.change(async move |inner| {
            let created = inner.registry.create_instance(account, new).await?;
            match &inner.nodes {
                None => inner.add(&created.0, SavedKeys::Nothing),
                Some(nodes) => {
                    if let Err(error) = nodes.cluster().claim(created.0.id).await {
                        tracing::debug!(%error, "a new instance is left for any node to take");
                    }
                }
            }
            Ok(created)
        })
        .await
    }

    /// Unlinks the device and deletes the instance with its keys and token; `false` when it is gone already.
    /// The session ends first: were the process killed in between, the instance is still there, and can be
    /// deleted again.
    pub(crate) async fn remove(&self, instance: Arc<Instance>) -> Result<bool, ChangeError<StoreError>> {
        let Some(nodes) = self.nodes_but_for(instance.id) else {
            return self.remove_local(instance).await;
        };
        let call = Remove {
            instance: instance.id,
        };
        let removed = nodes.at_owner(instance.id, call, |_| self.remove_here(instance.id));
        elsewhere(removed.await)
    }

    pub(super) async fn remove_local(
        &self,
        instance: Arc<Instance>,
    ) -> Result<bool, ChangeError<StoreError>> {
        self.change(async move |inner| {
            let wiped = inner.end(instance.id).await;
            let deleted = inner.registry.delete_instance(instance.id).await;
            match &deleted {
                // It is still there, without keys: a phone can link it again.
                Err(_) => inner.add(&instance, SavedKeys::Unknown),
                Ok(_) if wiped => inner.mark_wiped(instance.id).await,
                // The next start wipes what is remembered as deleted.
                Ok(_) => {}
            }
            deleted
        })
        .await
    }

    /// Gets the instance online, or what a phone needs to link it. The caller bounds the wait and may give up
    /// at any time.
    pub(crate) async fn connect(
        &self,
        instance: &Instance,
        how: PairWith,
    ) -> Result<Connected, RouteError<ConnectError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return Ok(self.inner.fleet.connect(id, how).await?);
        };
        let number = match how {
            PairWith::Qr => None,
            PairWith::LinkCode(number) => Some(number.to_string()),
        };
        let call = Connect { instance: id, number };
        Ok(nodes.at_owner(id, call, |_| self.connect_here(id, how)).await??)
    }

    /// Opens the saved session again. Returns when that has begun.
    pub(crate) async fn reconnect(&self, instance: &Instance) -> Result<(), RouteError<ReconnectError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return Ok(self.inner.fleet.reconnect(id).await?);
        };
        let call = Reconnect { instance: id };
        Ok(nodes.at_owner(id, call, |_| self.reconnect_here(id)).await??)
    }

    /// Unlinks the device and wipes its keys. The instance and its token stay; doing it again is no error.
    pub(crate) async fn logout(&self, instance: &Instance) -> Result<(), ChangeError<StoreError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return self.logout_local(id).await;
        };
        let call = LogOut { instance: id };
        elsewhere(nodes.at_owner(id, call, |_| self.log_out_here(id)).await)
    }

    pub(super) async fn logout_local(&self, id: InstanceId) -> Result<(), ChangeError<StoreError>> {
        self.change(async move |inner| {
            // Before anything is done, so that what was answered with 200 is still true after a restart.
            inner.registry.set_logged_out(id, true).await?;
            inner.fleet.logout(id).await;
            Ok(())
        })
        .await
    }

    /// Whether WhatsApp takes the account for online all the time; `false` when the instance is gone. It is
    /// durable, and the session acts on it, when this returns.
    pub(crate) async fn set_keep_online(
        &self,
        instance: &Instance,
        keep: bool,
    ) -> Result<bool, ChangeError<StoreError>> {
        let id = instance.id;
        let set = self
            .change(async move |inner| {
                let set = inner.registry.set_keep_online(id, keep).await?;
                if set {
                    inner.apply_settings(id);
                }
                Ok(set)
            })
            .await?;
        if let Some(nodes) = self.nodes_but_for(id) {
            let call = ApplySettings { instance: id };
            // A node that is not reached now learns of it from the registry.
            let _ = nodes.at_owner(id, call, |_| self.apply_settings_here(id)).await;
        }
        Ok(set)
    }

    /// The proxy that the instance connects through.
    pub(crate) fn proxy(&self, instance: &Instance) -> Result<Option<Proxy>, KeptProxyError> {
        proxy::kept(&*self.inner.registry, instance)
    }

    /// Gives the instance another proxy, or none; `false` when the instance is gone. It is durable when this
    /// returns, and the next connection is made through it.
    pub(crate) async fn set_proxy(
        &self,
        instance: &Instance,
        proxy: Option<&Proxy>,
    ) -> Result<bool, ChangeError<StoreError>> {
        let (id, proxy) = (instance.id, proxy.map(proxy::secret));
        self.change(async move |inner| inner.registry.set_proxy(id, proxy).await)
            .await
    }

    /// Shows or ends an indicator. Dropped before the stanza is written, nothing is sent.
    pub(crate) async fn presence(
        &self,
        instance: &Instance,
        presence: &ChatPresence,
    ) -> Result<PresenceSent, RouteError<ShowError>> {
        let id = instance.id;
        let Some(nodes) = self.nodes() else {
            return Ok(self.inner.fleet.show(id, presence).await?);
        };
        if let Some(shown) = self.show_here(id, presence).await {
            return Ok(shown?);
        }
        let call = Show {
            instance: id,
            presence: presence.into(),
        };
        Ok(nodes
            .at_owner(id, call, |_| self.show_here(id, presence))
            .await??)
    }

    /// What the instance shows now, what ends first at the front.
    pub(crate) async fn shown(&self, instance: &Instance) -> Result<Vec<(ChatJid, Shown)>, NoOwner> {
        let id = instance.id;
        let Some(nodes) = self.nodes_but_for(id) else {
            return Ok(self.inner.fleet.shown(id).await);
        };
        let call = ShownIn { instance: id };
        let shown = nodes.at_owner(id, call, |_| self.shown_here(id)).await?;
        Ok(shown.into_iter().filter_map(ShownChat::into_shown).collect())
    }
}
