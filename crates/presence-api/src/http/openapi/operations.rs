//! Which description belongs to which endpoint. There is one for each: the compiler asks for it.

use super::description::Description;
use super::{instances, presences, service, webhooks};
use crate::routes::Endpoint;

/// The description of an endpoint; `None` for pages, and for what is another API's.
pub(super) fn describe(endpoint: Endpoint) -> Option<Description> {
    Some(match endpoint {
        Endpoint::ChatPresence => presences::show(),
        Endpoint::ShownPresences => presences::list_shown(),
        Endpoint::Events => presences::follow(),
        Endpoint::GetWebhook => webhooks::get(),
        Endpoint::Webhook => webhooks::change(),
        Endpoint::InstanceNew => instances::create(),
        Endpoint::InstanceList => instances::list(),
        Endpoint::InstanceConnect => instances::connect(),
        Endpoint::InstanceReconnect => instances::reconnect(),
        Endpoint::InstanceLogout => instances::logout(),
        Endpoint::InstanceDelete => instances::delete(),
        Endpoint::InstanceGetSettings => instances::get_settings(),
        Endpoint::InstanceSettings => instances::change_settings(),
        Endpoint::InstanceGetProxy => instances::get_proxy(),
        Endpoint::InstanceProxy => instances::change_proxy(),
        Endpoint::PairingLink => instances::create_pairing_link(),
        Endpoint::RevokePairingLink => instances::revoke_pairing_link(),
        Endpoint::Mcp => service::mcp(),
        Endpoint::Health => service::health(),
        Endpoint::Livez => service::livez(),
        Endpoint::Readyz => service::readyz(),
        Endpoint::Metrics => service::metrics(),
        Endpoint::OpenApi => service::openapi(),
        Endpoint::Evolution(_) | Endpoint::Waha(_) => return None,
        Endpoint::PairPage
        | Endpoint::Pair
        | Endpoint::Docs
        | Endpoint::DocsFile
        | Endpoint::Root
        | Endpoint::Console
        | Endpoint::ConsoleFile => {
            return None;
        }
    })
}
