//! Linking devices, and unlinking them.

use std::sync::Arc;
use std::time::Duration;

use presence_sandbox::{PairError, Sandbox};
use tokio::time::advance;
use whatsapp_rust::types::events::Event;

use crate::device::Device;

const PHONE: &str = "5511988887777";

#[tokio::test(start_paused = true)]
async fn a_scanned_device_is_linked_and_logs_in() {
    let sandbox = Arc::new(Sandbox::builder().detached());
    let number = PHONE.parse().unwrap();
    let device = Device::linked(&sandbox, number).await;
    assert_eq!(device.jid().to_string(), format!("{PHONE}:1@s.whatsapp.net"));
    assert_eq!(sandbox.look(|world| (world.linked_devices(number), world.connections(number))), (1, 0));
    let _online = device.online().await;
    assert_eq!(sandbox.connections(number), 1);
}
