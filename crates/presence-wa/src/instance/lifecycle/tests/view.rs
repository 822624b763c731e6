//! What can be seen of an instance's life.

use presence_core::PhoneNumber;

use super::*;
use crate::pairing::PairingUpdate;

const PHONE: &str = "4915112345601";

fn pairing() -> SessionState {
    SessionState::Pairing(PairingUpdate::Qr {
        code: "2@abc".to_owned(),
        valid_for: Duration::from_secs(20),
    })
}

/// An instance to which a phone is to be linked like this.
fn to_pair(how: PairWith) -> Driver {
    let mut driver = Driver::new(unpaired());
    driver.lifecycle.handle_connect(driver.now, how).unwrap();
    driver.poll();
    driver.go_on();
    driver
}

#[test]
fn a_pairing_waits_for_a_phone_as_long_as_whatsapp_gives_codes() {
    let mut driver = to_pair(PairWith::Qr);
    driver.session(&pairing());
    let waiting = (InstanceState::Connecting, Some(Reason::WaitingForPhone));
    assert_eq!(driver.lifecycle.status(), waiting);
    driver.wait(FleetSettings::default().pairing_wanted_for);
    assert_eq!((driver.job(), driver.lifecycle.status()), (None, waiting));
    driver.end(End::PairingExpired);
    assert_eq!(
        driver.lifecycle.status(),
        (InstanceState::Disconnected, Some(Reason::PairingExpired))
    );
}

#[test]
fn a_link_code_is_wanted_while_the_session_that_was_asked_for_it_waits_for_a_phone() {
    let phone: PhoneNumber = PHONE.parse().unwrap();
    let mut driver = to_pair(PairWith::LinkCode(phone));
    assert_eq!(driver.lifecycle.link_code_wanted(), None, "it logs in");
    driver.session(&pairing());
    assert_eq!(driver.lifecycle.link_code_wanted(), Some(phone));
    driver.session(&SessionState::Linked);
    assert_eq!(driver.lifecycle.link_code_wanted(), None);

    let mut driver = to_pair(PairWith::LinkCode(phone));
    driver.session(&pairing());
    driver.lifecycle.handle_faulty_session(driver.now);
    assert_eq!(driver.lifecycle.link_code_wanted(), None, "it is being closed");

    let mut driver = to_pair(PairWith::Qr);
    driver.session(&pairing());
    assert_eq!(driver.lifecycle.link_code_wanted(), None);
}

#[test]
fn whose_device_it_is_is_known_while_it_is_linked() {
    assert_eq!(Driver::new(unpaired()).lifecycle.identity(), None);
    let mut driver = Driver::new(paired());
    driver.online();
    assert_eq!(driver.lifecycle.identity(), Some(&identity()));
    driver.end(End::LoggedOut { at_login: false });
    assert_eq!(driver.lifecycle.identity(), None);
}

#[test]
fn who_was_logged_out_is_so_until_the_end() {
    for (beginning, state) in [
        (paired(), InstanceState::Disconnected),
        (
            Beginning {
                logged_out: true,
                ..paired()
            },
            InstanceState::LoggedOut,
        ),
    ] {
        let mut driver = Driver::new(beginning);
        driver.lifecycle.handle_remove(driver.now);
        assert_eq!(driver.lifecycle.status(), (state, None));
    }
}
