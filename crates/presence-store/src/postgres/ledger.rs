//! The ledger of nodes in PostgreSQL.
//!
//! What happens in which order is said in the schema, `migrations/postgres/0003_ledger.sql`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use presence_core::InstanceId;
use tokio::sync::watch;

use super::database::Database;
use super::hints::Hints;
use crate::error::StoreError;
use crate::key::TokenKey;
use crate::key_store::Epoch;
use crate::ledger::{KeptShown, Ledger, LedgerNews, LedgerVersion, Node, NodeId, Ownership};

/// The [`Ledger`] in a PostgreSQL database.
pub struct PostgresLedger {
    database: Database,
    /// What instances show is sealed with it.
    key: TokenKey,
    hints: Arc<Hints>,
}

impl PostgresLedger {
    pub(super) fn new(database: Database, key: TokenKey, hints: Arc<Hints>) -> Self {
        Self { database, key, hints }
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn enter(&self, node: NodeId, address: &str, lease: Duration) -> Result<(), StoreError> {
        let mut transaction = self.database.begin("enter the ledger of nodes").await?;
        // Again, when the answer to the first time was lost.
        let query = sqlx::query(
            "INSERT INTO node (id, address, expires_at)
             VALUES (encode($1, 'hex')::uuid, $2, clock_timestamp() + $3 * interval '1 millisecond')
             ON CONFLICT (id) DO UPDATE SET address = excluded.address, expires_at = excluded.expires_at",
        )
        .bind(&node.as_bytes()[..])
        .bind(address)
        .bind(millis(lease));
        transaction.execute(query).await?;
        transaction.commit().await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        let statement = format!(
            "UPDATE node SET expires_at = clock_timestamp() + {} * interval '1 millisecond'
             WHERE id = '{node}' RETURNING true",
            millis(lease)
        );
        let renewed: Vec<(bool,)> = self.database.call("renew the lease", &statement).await?;
        Ok(!renewed.is_empty())
    }

    async fn strike_off(&self, by: NodeId) -> Result<Vec<NodeId>, StoreError> {
        let statement = format!("SELECT uuid_send(struck) FROM strike_off_nodes('{by}') AS struck");
        let struck: Vec<(Vec<u8>,)> = self.database.call("strike off lost nodes", &statement).await?;
        struck.iter().map(|(id,)| node_id(id)).collect()
    }

    async fn claim(&self, node: NodeId, most: u32) -> Result<Vec<Ownership>, StoreError> {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let statement = format!("SELECT claimed, new_epoch FROM claim_instances('{node}', {most})");
        let claimed: Vec<(i32, i64)> = self.database.call("claim instances", &statement).await?;
        let claimed = claimed.into_iter().map(|(id, epoch)| {
            Ok(Ownership {
                instance: instance(id)?,
                node: Some(node),
                epoch: Epoch(epoch),
            })
        });
        claimed.collect()
    }

    async fn claim_one(&self, node: NodeId, instance: InstanceId) -> Result<Option<Epoch>, StoreError> {
        let statement = format!("SELECT claim_instance('{node}', {instance})");
        let claimed: Vec<(Option<i64>,)> = self.database.call("claim an instance", &statement).await?;
        Ok(claimed.first().and_then(|(epoch,)| epoch.map(Epoch)))
    }

    async fn release(&self, node: NodeId, instances: &[(InstanceId, Epoch)]) -> Result<(), StoreError> {
        if instances.is_empty() {
            return Ok(());
        }
        let statement = format!(
            "SELECT FROM release_instances('{node}', '{}', '{}')",
            array(instances.iter().map(|(id, _)| id)),
            array(instances.iter().map(|(_, epoch)| epoch.0)),
        );
        self.database.call::<()>("release instances", &statement).await?;
        Ok(())
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        let statement = format!("SELECT FROM remove_node('{node}')");
        self.database
            .call::<()>("leave the ledger of nodes", &statement)
            .await?;
        Ok(())
    }

    async fn read(&self, since: Option<LedgerVersion>) -> Result<LedgerNews, StoreError> {
        // One statement, so that all of it is of one moment. A ledger that is behind was restored: then everything is
        // told.
        let since = since.map_or(-1, |version| version.0);
        let statement = format!(
            "SELECT version, NULL::bytea, NULL::text, NULL::integer, NULL::bigint FROM ledger
             UNION ALL SELECT NULL, uuid_send(id), address, NULL, NULL FROM node
             UNION ALL SELECT NULL, uuid_send(node_id), NULL, instance_id, epoch FROM ownership
             WHERE version > (SELECT CASE WHEN ledger.version < {since} THEN -1 ELSE {since} END FROM ledger)"
        );
        type Line = (
            Option<i64>,
            Option<Vec<u8>>,
            Option<String>,
            Option<i32>,
            Option<i64>,
        );
        let lines: Vec<Line> = self.database.call("read the ledger of nodes", &statement).await?;
        let (mut version, mut nodes, mut changed) = (None, Vec::new(), Vec::new());
        for line in lines {
            match line {
                (Some(found), ..) => version = Some(found),
                (_, Some(id), Some(address), ..) => nodes.push(Node {
                    id: node_id(&id)?,
                    address,
                }),
                (_, owner, _, Some(id), Some(epoch)) => changed.push(Ownership {
                    instance: instance(id)?,
                    node: owner.as_deref().map(node_id).transpose()?,
                    epoch: Epoch(epoch),
                }),
                _ => return Err(CORRUPT),
            }
        }
        nodes.sort_by_key(|node| node.id);
        let version = version.ok_or(CORRUPT)?;
        Ok(LedgerNews {
            version: LedgerVersion(version),
            nodes,
            changed,
            is_everything: since < 0 || version < since,
        })
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.ledger()
    }

    async fn keep_shown(&self, node: NodeId, shown: &[(InstanceId, Epoch, Bytes)]) -> Result<(), StoreError> {
        let (mut ids, mut epochs, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
        for (instance, epoch, shown) in shown {
            ids.push(instance.get());
            epochs.push(epoch.0);
            // Nothing shown is nothing kept.
            sealed.push(match shown.is_empty() {
                true => Vec::new(),
                false => self.key.seal_shown(*instance, shown)?.into_vec(),
            });
        }
        let mut transaction = self.database.begin("keep what is shown").await?;
        let query = sqlx::query(
            "WITH given AS (
                 SELECT instance_id, sealed FROM unnest($2, $3, $4) AS given (instance_id, epoch, sealed)
                 JOIN ownership USING (instance_id, epoch) WHERE node_id = encode($1, 'hex')::uuid
             ), ended AS (
                 DELETE FROM shown WHERE instance_id IN (SELECT instance_id FROM given WHERE sealed = '')
             )
             INSERT INTO shown (instance_id, sealed, kept_at)
             SELECT instance_id, sealed, clock_timestamp() FROM given WHERE sealed <> ''
             ON CONFLICT (instance_id) DO UPDATE SET sealed = excluded.sealed, kept_at = excluded.kept_at",
        )
        .bind(&node.as_bytes()[..])
        .bind(ids)
        .bind(epochs)
        .bind(sealed);
        transaction.execute(query).await?;
        transaction.commit().await
    }

    async fn take_shown(&self, instances: &[InstanceId]) -> Result<Vec<KeptShown>, StoreError> {
        let statement = format!(
            "DELETE FROM shown WHERE instance_id = ANY ('{}') RETURNING instance_id, sealed,
             greatest(0, extract(epoch FROM clock_timestamp() - kept_at) * 1000)::bigint",
            array(instances)
        );
        let taken: Vec<(i32, Vec<u8>, i64)> = self.database.call("take what was shown", &statement).await?;
        let mut kept = Vec::new();
        for (id, sealed, age) in taken {
            let (instance, age) = (instance(id)?, Duration::from_millis(age.unsigned_abs()));
            if age > VOID_AFTER {
                continue;
            }
            match self.key.open_shown(instance, &sealed) {
                Some(shown) => kept.push(KeptShown { instance, shown, age }),
                None => tracing::debug!(%instance, "what was shown does not open"),
            }
        }
        Ok(kept)
    }
}

/// How long it matters what an instance showed: nothing is shown for longer without being renewed.
const VOID_AFTER: Duration = Duration::from_secs(60);

const CORRUPT: StoreError = StoreError::Corrupt {
    what: "ledger of nodes",
};

fn millis(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

/// An array as PostgreSQL reads it.
fn array<T: Display>(numbers: impl IntoIterator<Item = T>) -> String {
    let numbers: Vec<_> = numbers.into_iter().map(|number| number.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}

fn node_id(bytes: &[u8]) -> Result<NodeId, StoreError> {
    let bytes = bytes.try_into().map_err(|_| CORRUPT)?;
    Ok(NodeId::from_bytes(bytes))
}

fn instance(id: i32) -> Result<InstanceId, StoreError> {
    InstanceId::new(id).ok_or(CORRUPT)
}
