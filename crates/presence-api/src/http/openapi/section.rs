//! The sections of the document.

use utoipa::openapi::tag::{Tag, TagBuilder};

/// Where an operation belongs.
#[derive(Clone, Copy)]
pub(super) enum Section {
    Presences,
    Events,
    Instances,
    Agents,
    Service,
}

impl Section {
    pub(super) const ALL: [Self; 5] = [
        Self::Presences,
        Self::Events,
        Self::Instances,
        Self::Agents,
        Self::Service,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Presences => "Presences",
            Self::Events => "Events",
            Self::Instances => "Instances",
            Self::Agents => "Agents",
            Self::Service => "Service",
        }
    }

    pub(super) fn tag(self) -> Tag {
        let about = match self {
            Self::Presences => "What chats show.",
            Self::Events => "What happens, as it happens.",
            Self::Instances => "WhatsApp accounts: an instance is one, and the link to its phone.",
            Self::Agents => "The same for AI agents.",
            Self::Service => {
                "For probes, monitoring and tools. They need no token and count against no limit."
            }
        };
        TagBuilder::new()
            .name(self.name())
            .description(Some(about))
            .build()
    }
}
