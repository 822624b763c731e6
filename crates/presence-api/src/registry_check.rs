//! Whether the registry is well.

use async_trait::async_trait;

use crate::health::{Finding, HealthCheck};
use crate::instances::Instances;

/// The check `registry`: accounts and instances.
pub(crate) struct RegistryCheck(pub(crate) Instances);

#[async_trait]
impl HealthCheck for RegistryCheck {
    fn name(&self) -> &'static str {
        "registry"
    }

    async fn check(&self) -> Finding {
        Finding::of(self.0.check_registry().await)
    }
}
