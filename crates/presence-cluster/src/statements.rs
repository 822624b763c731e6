//! The statements of a node, carried out: each is one bounded future.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence_store::{Ledger, StoreError};
use tokio::time::timeout;

use crate::action::{Answer, Statement};
use crate::cluster::failed;
use crate::settings::ClusterSettings;

/// How a statement ended.
pub(crate) struct Answered {
    pub(crate) statement: Statement,
    pub(crate) answer: Answer,
    /// Why it failed.
    pub(crate) error: Option<StoreError>,
}

/// Carries `statement` out.
pub(crate) fn begin(
    statement: Statement,
    ledger: Arc<dyn Ledger>,
    settings: ClusterSettings,
) -> BoxFuture<'static, Answered> {
    Box::pin(async move {
        let answer = within(settings.patience, answer(&statement, &*ledger, &settings)).await;
        let (answer, error) = match answer {
            Ok(answer) => (answer, None),
            Err(StoreError::Fenced) => (Answer::Dead, None),
            Err(error) => (Answer::Failed, Some(error)),
        };
        Answered {
            statement,
            answer,
            error,
        }
    })
}

async fn answer(
    statement: &Statement,
    ledger: &dyn Ledger,
    settings: &ClusterSettings,
) -> Result<Answer, StoreError> {
    Ok(match statement {
        Statement::Enter(node) => {
            let entered = ledger.enter(*node, &settings.address, settings.lease);
            entered.await.map(|()| Answer::Done)?
        }
        Statement::Renew(node) => match ledger.renew(*node, settings.lease).await? {
            true => Answer::Done,
            false => Answer::Dead,
        },
        Statement::Read(since) => Answer::News(ledger.read(*since).await?),
        Statement::StrikeOff(by) => Answer::StruckOff(ledger.strike_off(*by).await?),
        Statement::Claim(node, most) => Answer::Claimed(ledger.claim(*node, *most).await?),
        Statement::Release(node, instances) => {
            ledger.release(*node, instances).await.map(|()| Answer::Done)?
        }
        Statement::Leave(node) => ledger.leave(*node).await.map(|()| Answer::Done)?,
    })
}

async fn within<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(limit, statement).await {
        Ok(answered) => answered,
        Err(_) => Err(failed("hear from the database", io::ErrorKind::TimedOut)),
    }
}
