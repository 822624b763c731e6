//! A phone links a device: the exchange between the two, over the device's connection.

use std::time::Duration;

use tokio::time::timeout;

use crate::hub::Hub;
use crate::phone::{Phone, ScannedCode, read_link_code};
use crate::server;
use crate::world::{LinkOffer, Number, PairError, Progress, ScanOffer};

/// How long a phone waits for the device at each step.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

impl Hub {
    /// The phone of `number` scans a QR code. Returns when the device is linked.
    pub(crate) async fn scan(&self, number: Number, qr: &str) -> Result<(), PairError> {
        let code = ScannedCode::read(qr)?;
        let phone = Phone::of(number, &self.secret);
        let companion = phone.companion(code.identity);
        let offer =
            self.change(|world, now| world.scan(now, number, &code.reference, &code.noise_key, companion))?;
        let keys = phone.keys_for_code(&code, offer.device.id, self.unix_secs());
        self.say(
            offer.connection,
            server::pair_success(self.next_query(), &offer, &keys),
        );
        self.until_linked(&offer).await
    }

    /// The owner of `number` enters a link code on the phone. Returns when the device is linked.
    pub(crate) async fn enter_link_code(&self, number: Number, code: &str) -> Result<(), PairError> {
        let code = read_link_code(code)?;
        let waiting = self.change(|world, now| world.link(now, number))?;
        let LinkOffer { connection, .. } = waiting;
        let phone = Phone::of(number, &self.secret);
        // As a blocking task, because it computes for long, and because a paused clock waits for those.
        let opened = tokio::task::spawn_blocking(move || phone.open(&code, &waiting)).await;
        let (hello, exchange) = opened.map_err(|_| PairError::Gone)??;
        self.say(
            connection,
            server::link_notification(self.next_query(), self.unix_secs(), &hello),
        );
        let finish = timeout(ANSWER_TIMEOUT, self.wait_for(|world| world.finish_of(connection)));
        let finish = finish.await.map_err(|_| PairError::Late)??;

        let phone = Phone::of(number, &self.secret);
        let companion = phone.companion(finish.identity);
        let offer = self.change(|world, _| world.offer_device(connection, number, companion))?;
        match phone.finish(&exchange, &finish, offer.device.id, self.unix_secs()) {
            Ok(keys) => {
                self.say(connection, server::pair_success(self.next_query(), &offer, &keys));
                self.until_linked(&offer).await
            }
            Err(error) => {
                self.change(|world, _| world.give_up(connection));
                Err(error)
            }
        }
    }

    async fn until_linked(&self, offer: &ScanOffer) -> Result<(), PairError> {
        let progress = self.wait_for(|world| match world.progress(offer) {
            Progress::Waiting => None,
            Progress::Linked => Some(Ok(())),
            Progress::Failed(error) => Some(Err(error)),
        });
        let linked = timeout(ANSWER_TIMEOUT, progress).await;
        linked.unwrap_or_else(|_| {
            self.change(|world, _| world.give_up(offer.connection));
            Err(PairError::Late)
        })
    }
}
