//! The fleet with sessions that tests end as they like, on a paused clock.

mod chaos;
mod faults;
mod lifecycle;
mod presence;

use super::*;
use crate::fake::{FakeConnector, World};
use presence_core::ChatPresenceRequest;
use tokio::time::sleep;

const DEVICE: DeviceId = DeviceId(1);
const GRACE: Duration = Duration::from_secs(10);

/// Writes to the world's list of deeds.
struct FakeLedger {
    world: Arc<World>,
    broken: bool,
}

#[async_trait::async_trait]
impl Ledger for FakeLedger {
    async fn pairing(&self, _device: DeviceId) -> Result<(), LedgerError> {
        self.world.lock().deeds.push("pairing".to_owned());
        if self.broken {
            Err("disk full".into())
        } else {
            Ok(())
        }
    }

    async fn logged_out(&self, _device: DeviceId) -> Result<(), LedgerError> {
        self.world.lock().deeds.push("logged out".to_owned());
        if self.broken {
            Err("disk full".into())
        } else {
            Ok(())
        }
    }
}

fn fleet(world: &Arc<World>) -> Fleet {
    fleet_with(world, FleetSettings::default(), false)
}

fn fleet_with(world: &Arc<World>, settings: FleetSettings, broken_ledger: bool) -> Fleet {
    let ledger = FakeLedger {
        world: Arc::clone(world),
        broken: broken_ledger,
    };
    Fleet::new(FakeConnector(Arc::clone(world)), ledger, settings)
}

/// A fleet with one instance that is paired and online.
async fn online() -> (Fleet, Arc<World>) {
    let world = World::new();
    let fleet = fleet(&world);
    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    (fleet, world)
}

fn resume(fleet: &Fleet, world: &World, device: DeviceId) {
    world.pair(device);
    fleet.add(
        device,
        InstanceOptions {
            resume: true,
            ..InstanceOptions::default()
        },
    );
}

/// Lets every task go on until none has anything to do at this moment.
async fn settle() {
    sleep(Duration::from_nanos(1)).await;
}

fn state(fleet: &Fleet, device: DeviceId) -> InstanceState {
    fleet.status(device).expect("the instance is there").state
}

fn reason(fleet: &Fleet, device: DeviceId) -> Option<Reason> {
    fleet.status(device).expect("the instance is there").reason
}

/// Waits, at most three hours, until the instance is in `wanted`.
async fn until(fleet: &Fleet, device: DeviceId, wanted: InstanceState) {
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
    fleet.inner.shared.tasks.len()
}
