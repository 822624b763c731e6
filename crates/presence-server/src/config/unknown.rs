//! Variables that look like settings and are none.

use std::fmt;

use super::settings;

/// Those of the commands, besides the settings of `serve`.
const OF_COMMANDS: [&str; 4] = [
    "PRESENCE_NEW_TOKEN_KEY",
    "PRESENCE_QUOTA",
    "PRESENCE_TOKEN",
    "PRESENCE_URL",
];

const PREFIX: &str = "PRESENCE_";

/// How alike two names are at least, after their prefix, of which one may be meant for the other: 0 to 1.
const ALIKE: f64 = 0.9;

/// A variable that begins like a setting's, but that nothing reads. It may be misspelt, or of somebody else's:
/// Kubernetes sets `PRESENCE_PORT` and the like where a service is called `presence`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownVariable {
    name: String,
    meant: Option<&'static str>,
}

/// Which of `names` nothing reads.
pub(crate) fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<UnknownVariable> {
    let known = || {
        settings::ALL
            .iter()
            .map(|setting| setting.variable)
            .chain(OF_COMMANDS)
    };
    let unknown = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && known().all(|known| known != name));
    unknown
        .map(|name| {
            let alike = known().map(|known| {
                let alike = strsim::jaro_winkler(&name[PREFIX.len()..], &known[PREFIX.len()..]);
                (alike, known)
            });
            let nearest = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
            let meant = nearest
                .filter(|(alike, _)| *alike >= ALIKE)
                .map(|(_, known)| known);
            UnknownVariable { name, meant }
        })
        .collect()
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing reads {}", self.name)?;
        match self.meant {
            Some(meant) => write!(f, "; is {meant} meant?"),
            None => Ok(()),
        }
    }
}
