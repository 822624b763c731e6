//! Some of them fail, or are given up.

use super::*;

#[tokio::test(start_paused = true)]
async fn whichever_stanza_fails_all_under_way_are_answered_and_only_what_was_written_is_shown() {
    for failed in 1..=3 {
        let (fleet, world, start) = holding().await;
        // In the second chat something is shown already, and goes on if its next command is void.
        let before = ask(&fleet, "02", "typing").await;
        world.take_all();
        before.await.unwrap().unwrap();
        let mut asked = Vec::new();
        for chat in ["01", "02", "03"] {
            asked.push(ask(&fleet, chat, "recording").await);
        }
        for chat in 1..failed {
            world.end_write(&format!("recording {chat:02}"), Ok(()));
            settle().await;
        }
        world.end_write(&format!("recording {failed:02}"), broken());
        let mut written = Vec::new();
        for asked in asked {
            written.push(asked.await.unwrap());
        }
        for (chat, written) in (1..).zip(&written) {
            match written {
                Ok(_) => assert!(chat < failed),
                Err(error) => assert_eq!((error, chat >= failed), (&ShowError::NotConnected, true)),
            }
        }
        world.hold_no_stanzas();
        until(&fleet, DEVICE, InstanceState::Connected).await;
        let expected = match failed {
            1 => ["Typing 02"].as_slice(),
            2 => &["Typing 02", "Recording 01"],
            _ => &["Recording 01", "Recording 02"],
        };
        assert_eq!(shown(&fleet).await, expected, "{failed} failed");
        assert!(!states(&world, start).contains(" 03"), "{failed} failed");
        assert_eq!(world.opened(DEVICE).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn stanzas_that_end_together_are_each_answered_with_its_own_end() {
    let (fleet, world, _) = holding().await;
    let mut asked = Vec::new();
    for chat in ["01", "02", "03", "04"] {
        asked.push(ask(&fleet, chat, "typing").await);
    }
    world.end_write("composing 01", Ok(()));
    world.end_write("composing 02", broken());
    world.end_write("composing 04", Ok(()));
    let mut is_written = Vec::new();
    for asked in asked {
        is_written.push(asked.await.unwrap().is_ok());
    }
    assert_eq!(is_written, [true, false, false, true]);
    world.hold_no_stanzas();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(shown(&fleet).await, ["Typing 01", "Typing 04"]);
}

#[tokio::test(start_paused = true)]
async fn one_stanza_that_is_not_taken_in_time_fails_its_session() {
    let (fleet, world, start) = holding().await;
    let slow = ask(&fleet, "01", "typing").await;
    sleep(4 * SECOND).await;
    let later = [
        ask(&fleet, "02", "typing").await,
        ask(&fleet, "03", "typing").await,
    ];
    world.end_write("composing 02", Ok(()));
    assert_eq!(slow.await.unwrap(), Err(ShowError::NotConnected));
    assert_eq!(start.elapsed().as_secs(), 5);
    let [two, three] = later;
    assert!(two.await.unwrap().is_ok());
    assert_eq!(three.await.unwrap(), Err(ShowError::NotConnected));
    assert!(start.elapsed() < Duration::from_millis(5_100));
    world.hold_no_stanzas();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(shown(&fleet).await, ["Typing 02"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_answers_all_that_is_under_way_and_all_that_waits() {
    let (fleet, world, start) = holding().await;
    let mut asked = Vec::new();
    for chat in 1..=10 {
        asked.push(ask(&fleet, &format!("{chat:02}"), "typing").await);
    }
    world.session(DEVICE).end(End::Lost("reset".into()));
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Err(ShowError::NotConnected));
    }
    world.hold_no_stanzas();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    sleep(60 * SECOND).await;
    assert_eq!(states(&world, start), "");
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_takes_too_long_answers_what_is_under_way() {
    let (fleet, _world, start) = holding().await;
    let asked = [
        ask(&fleet, "01", "typing").await,
        ask(&fleet, "02", "typing").await,
    ];
    fleet.shutdown(GRACE).await;
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Err(ShowError::NotConnected));
    }
    let farewell = FleetSettings::default().farewell_timeout.as_secs();
    assert_eq!((start.elapsed().as_secs(), tasks(&fleet)), (farewell, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_one_of_its_chat_that_fails_brings_nothing_of_that_back() {
    let (fleet, world, start) = holding().await;
    let asked = [
        ask(&fleet, "01", "typing").await,
        ask(&fleet, "01", "recording").await,
    ];
    world.end_write("composing 01", broken());
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Err(ShowError::NotConnected));
    }
    world.hold_no_stanzas();
    until(&fleet, DEVICE, InstanceState::Connected).await;
    assert_eq!(
        (shown(&fleet).await.len(), states(&world, start)),
        (0, String::new())
    );
}
