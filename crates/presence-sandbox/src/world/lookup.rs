//! What WhatsApp says about people who are looked up.

use super::{User, UsyncAnswer, UsyncQuestion, World};

impl World {
    pub(super) fn look_up(&self, question: UsyncQuestion) -> UsyncAnswer {
        let UsyncQuestion { user, contact } = question;
        let (user, number, owner, lid) = match user {
            User::Number(asked) => {
                let canonical = self.numbers.canonical(asked);
                let lid =
                    canonical.and_then(|number| self.numbers.lid(asked).or_else(|| self.lid_of(number)));
                (User::Number(canonical.unwrap_or(asked)), None, canonical, lid)
            }
            User::Lid(lid) => {
                let number = self.number_of(lid);
                (user, number, number, number.map(|_| lid))
            }
        };
        UsyncAnswer {
            user,
            contact,
            number,
            owner,
            lid,
            devices: owner.map_or_else(Vec::new, |owner| self.accounts.device_ids(owner)),
        }
    }
}
