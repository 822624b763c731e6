//! Where accounts are told of their instances.

use std::sync::Arc;

use presence_store::{Account, AccountId, StoreError};

use super::{ChangeError, Instances};
use crate::webhook::{self, KeptWebhookError, Webhook};

impl Instances {
    /// Every account.
    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        self.inner.registry.accounts()
    }

    /// The account with this number.
    pub(crate) fn account(&self, id: AccountId) -> Option<Arc<Account>> {
        self.inner.registry.account(id)
    }

    /// Where `account` is told of its instances.
    pub(crate) fn webhook(&self, account: &Account) -> Result<Option<Webhook>, KeptWebhookError> {
        webhook::kept(&*self.inner.registry, account)
    }

    /// The same, of the account with this number; `None` also when it is gone.
    pub(crate) fn webhook_of(&self, id: AccountId) -> Result<Option<Webhook>, KeptWebhookError> {
        self.account(id)
            .map_or(Ok(None), |account| self.webhook(&account))
    }

    /// Gives the account another webhook, or none; `false` when it is gone. It is durable when this returns.
    pub(crate) async fn set_webhook(
        &self,
        id: AccountId,
        webhook: Option<&Webhook>,
    ) -> Result<bool, ChangeError<StoreError>> {
        let webhook = webhook.map(webhook::to_secret_text);
        self.change(async move |inner| inner.registry.set_webhook(id, webhook).await)
            .await
    }
}
