//! The fleet with sessions that tests end as they like, on a paused clock.

mod chaos;
mod counters;
mod faults;
mod lifecycle;
mod logs;
mod moving;
mod outage;
mod own_messages;
mod presence;
mod under_way;

use super::*;
use crate::fake::{FakeConnector, World};
use crate::instance::SavedKeys;
use crate::pairing_record::PairingRecordError;
use crate::status::{InstanceState, Reason};
use presence_core::ChatPresenceRequest;
use tokio::time::sleep;

const DEVICE: InstanceId = InstanceId::new(1).expect("positive");
const GRACE: Duration = Duration::from_secs(10);

/// Writes to the world's list of deeds.
struct FakeRecord {
    world: Arc<World>,
    broken: bool,
}

#[async_trait::async_trait]
impl PairingRecord for FakeRecord {
    async fn pairing(&self, _instance: InstanceId) -> Result<(), PairingRecordError> {
        self.world.lock().events.push("pairing".to_owned());
        if self.broken {
            Err("disk full".into())
        } else {
            Ok(())
        }
    }

    async fn logged_out(&self, _instance: InstanceId) -> Result<(), PairingRecordError> {
        self.world.lock().events.push("logged out".to_owned());
        if self.broken {
            Err("disk full".into())
        } else {
            Ok(())
        }
    }

    async fn banned(&self, _instance: InstanceId, lasts: Option<Duration>) -> Result<(), PairingRecordError> {
        let line = lasts.map_or("not banned".to_owned(), |lasts| {
            format!("banned {} s", lasts.as_secs())
        });
        self.world.lock().events.push(line);
        Ok(())
    }
}

fn id(number: i32) -> InstanceId {
    InstanceId::new(number).expect("positive")
}

fn fleet(world: &Arc<World>) -> Fleet {
    fleet_with(world, FleetSettings::default(), false)
}

fn fleet_with(world: &Arc<World>, settings: FleetSettings, broken_record: bool) -> Fleet {
    let record = FakeRecord {
        world: Arc::clone(world),
        broken: broken_record,
    };
    Fleet::new(
        Arc::new(FakeConnector(Arc::clone(world))),
        Arc::new(record),
        settings,
    )
}

/// A fleet with one instance that is paired and online.
async fn online() -> (Fleet, Arc<World>) {
    let world = World::new();
    let fleet = fleet(&world);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    (fleet, world)
}

fn resume(fleet: &Fleet, world: &World, device: InstanceId) {
    world.pair(device);
    fleet.add(
        device,
        InstanceOptions {
            saved: SavedKeys::Resume,
            ..InstanceOptions::default()
        },
    );
}

/// Lets every task go on until none has anything to do at this moment.
async fn settle() {
    sleep(Duration::from_nanos(1)).await;
}

fn state(fleet: &Fleet, device: InstanceId) -> InstanceState {
    fleet.status(device).expect("the instance is there").state
}

fn reason(fleet: &Fleet, device: InstanceId) -> Option<Reason> {
    fleet.status(device).expect("the instance is there").reason
}

/// Waits, at most three hours, until the instance is in `wanted`.
async fn until(fleet: &Fleet, device: InstanceId, wanted: InstanceState) {
    for _ in 0..108_000 {
        if state(fleet, device) == wanted {
            return settle().await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("never {wanted}: {:?}", fleet.status(device));
}

fn presence(number: &str, state: &str, seconds: u64) -> ChatPresence {
    let body = serde_json::json!({ "number": number, "state": state, "duration": seconds });
    ChatPresenceRequest::from_json(body.to_string().as_bytes())
        .unwrap()
        .try_into()
        .unwrap()
}

fn tasks(fleet: &Fleet) -> usize {
    fleet.inner.context.tasks.len()
}
