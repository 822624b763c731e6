//! Serves clients: decodes what they send, lets the world decide, writes what follows.

mod decode;
mod encode;
mod session;

pub(crate) use encode::{link_notification, pair_success, push_name};
pub(crate) use session::serve;
