//! The faults that stand, and what they do.

use std::time::Duration;

use super::fault::{Answer, MAX_FAULTS, Strike};
use super::{Effect, Farewell, Fault, FaultId, FaultKind, InvalidFault, Number, Treatment, When, World};

impl FaultId {
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    standing: Vec<Standing>,
    last: u64,
}

#[derive(Debug)]
struct Standing {
    id: FaultId,
    fault: Fault,
    /// Stanzas until it strikes, for those that count them.
    stanzas: u32,
    /// When it ends by itself.
    ends_at: Option<Duration>,
}

impl Faults {
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        self.standing
            .retain(|standing| standing.ends_at.is_none_or(|end| end > now));
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.standing.iter().filter_map(|standing| standing.ends_at).min()
    }

    pub(super) fn at_login(&mut self, account: Option<Number>) -> Option<Strike> {
        self.use_up(account, |standing| match standing.fault.when {
            When::Login => standing.fault.kind.strike(),
            When::Now | When::AfterStanzas(_) => None,
        })
    }

    pub(super) fn on_stanza(&mut self, account: Option<Number>) -> Option<Strike> {
        self.use_up(account, |standing| {
            let When::AfterStanzas(every) = standing.fault.when else {
                return None;
            };
            standing.stanzas -= 1;
            (standing.stanzas == 0).then(|| {
                standing.stanzas = every;
                standing.fault.kind.strike()
            })?
        })
    }

    pub(super) fn refuse(&mut self, account: Option<Number>) -> bool {
        // With an account, only the faults that name it: the others struck before the handshake.
        self.use_up(account, |standing| {
            (standing.fault.kind == FaultKind::Refuse && standing.fault.account == account).then_some(())
        })
        .is_some()
    }

    pub(super) fn ban(&mut self, now: Duration, account: Option<Number>) -> Option<Farewell> {
        self.use_up(account, |standing| {
            match (&standing.fault.kind, standing.ends_at) {
                (FaultKind::Ban { code, .. }, Some(end)) => Some(banned(*code, end.saturating_sub(now))),
                _ => None,
            }
        })
    }

    pub(super) fn treatment(&mut self, answer: Answer, account: Option<Number>) -> Treatment {
        self.use_up(account, |standing| match &standing.fault.kind {
            FaultKind::Withhold { answers } if answers.contains(&answer) => Some(Treatment::Withhold),
            FaultKind::Delay { answers, by } if answers.contains(&answer) => Some(Treatment::Delay(*by)),
            FaultKind::Reject { answers, code, text } if answers.contains(&answer) => {
                Some(Treatment::Reject {
                    code: *code,
                    text: text.clone(),
                })
            }
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The first fault that concerns `account` and `applies`; it then has happened once more.
    fn use_up<T>(
        &mut self,
        account: Option<Number>,
        mut applies: impl FnMut(&mut Standing) -> Option<T>,
    ) -> Option<T> {
        let concerned = self
            .standing
            .iter_mut()
            .enumerate()
            .filter(|(_, s)| s.fault.concerns(account));
        let (at, found) = concerned
            .filter_map(|(at, standing)| Some((at, applies(standing)?)))
            .next()?;
        if let Some(times) = &mut self.standing[at].fault.times {
            *times -= 1;
            if *times == 0 {
                self.standing.remove(at);
            }
        }
        Some(found)
    }
}

fn banned(code: u16, remaining: Duration) -> Farewell {
    let expire_secs = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
    Farewell::Failure {
        reason: Some(402),
        code: Some(code),
        expire_secs: Some(expire_secs),
        message: None,
    }
}

impl World {
    /// Sets a fault. Returns its number, when it stands, and how many connections it struck at once.
    pub(crate) fn add_fault(
        &mut self,
        now: Duration,
        fault: Fault,
    ) -> Result<(Option<FaultId>, usize), InvalidFault> {
        fault.check()?;
        if self.faults.standing.len() >= MAX_FAULTS {
            return Err(InvalidFault::TooMany);
        }
        match (fault.kind.strike(), fault.when) {
            (Some(strike), When::Now) => Ok((None, self.strike(&fault, &strike))),
            _ => {
                let mut struck = 0;
                let mut ends_at = fault.lasts.map(|time| now + time);
                if let FaultKind::Ban { code, lasts } = fault.kind {
                    ends_at = ends_at.into_iter().chain([now + lasts]).min();
                    struck = self.dismiss(fault.account, &banned(code, lasts));
                }
                self.faults.last += 1;
                let id = FaultId(self.faults.last);
                let stanzas = if let When::AfterStanzas(count) = fault.when {
                    count
                } else {
                    0
                };
                self.faults.standing.push(Standing {
                    id,
                    fault,
                    stanzas,
                    ends_at,
                });
                Ok((Some(id), struck))
            }
        }
    }

    /// The faults that stand, each with how many times it will still happen, when that is limited.
    pub fn faults(&self) -> impl Iterator<Item = (FaultId, &Fault)> {
        self.faults
            .standing
            .iter()
            .map(|standing| (standing.id, &standing.fault))
    }

    /// Clears one fault. False when it does not stand. With a stall, whatever is stalled goes on.
    pub(crate) fn clear_fault(&mut self, id: FaultId) -> bool {
        let Some(at) = self.faults.standing.iter().position(|s| s.id == id) else {
            return false;
        };
        let cleared = self.faults.standing.remove(at);
        if cleared.fault.kind == FaultKind::Stall {
            self.resume();
        }
        true
    }

    /// Clears all faults; what they stalled goes on. Returns how many stood.
    pub(crate) fn clear_faults(&mut self) -> usize {
        self.resume();
        std::mem::take(&mut self.faults.standing).len()
    }

    fn strike(&mut self, fault: &Fault, strike: &Strike) -> usize {
        let most = fault.times.map_or(usize::MAX, |times| times as usize);
        let mut struck = self.connections.concerned(fault.account);
        struck.truncate(most);
        for connection in &struck {
            match strike {
                Strike::Dismiss(farewell) => {
                    self.effects
                        .push_back(Effect::Dismiss(*connection, farewell.clone()));
                }
                Strike::Stall => self.stall(*connection),
            }
        }
        struck.len()
    }
}
