//! Instances that leave the fleet for another process, and come back.

use super::*;

const NUMBER: &str = "4915112345601";

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_handed_over_is_paused_closed_and_gone_and_its_device_stays_linked() {
    let (fleet, world) = online().await;
    let start = Instant::now();
    fleet.show(DEVICE, &presence(NUMBER, "typing", 30)).await.unwrap();
    assert_eq!(fleet.take_changed(), [DEVICE]);
    assert!(fleet.take_changed().is_empty());
    fleet.hand_over(DEVICE).await;
    assert!(fleet.status(DEVICE).is_none());
    let written = world.timeline(DEVICE, start);
    assert!(written.contains("paused"), "{written}");
    let events = world.lock().events.clone();
    assert!(events.ends_with(&["forget 1".to_owned()]), "{events:?}");
    assert!(
        !events
            .iter()
            .any(|event| event.contains("wipe") || event.contains("logout"))
    );
    assert_eq!(tasks(&fleet), 0);

    resume(&fleet, &world, DEVICE);
    until(&fleet, DEVICE, InstanceState::Connected).await;
    fleet.show(DEVICE, &presence(NUMBER, "typing", 5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_given_up_writes_nothing_more() {
    let (fleet, world) = online().await;
    fleet.show(DEVICE, &presence(NUMBER, "typing", 30)).await.unwrap();
    let lost = Instant::now();
    fleet.give_up(DEVICE).await;
    assert!(fleet.status(DEVICE).is_none());
    assert_eq!(tasks(&fleet), 0);
    sleep(Duration::from_secs(60)).await;
    let after = world
        .lock()
        .written
        .iter()
        .filter(|written| written.at > lost)
        .count();
    assert_eq!(after, 0);
    assert!(fleet.show(DEVICE, &presence(NUMBER, "typing", 5)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_while_it_is_handed_over_ends_on_the_spot() {
    for is_dropped in [false, true] {
        let (fleet, world) = online().await;
        fleet.show(DEVICE, &presence(NUMBER, "typing", 30)).await.unwrap();
        // Its last `paused` is never taken.
        world.lock().stalled.push(DEVICE);
        let mut handing_over = Some(Box::pin(fleet.hand_over(DEVICE)));
        let a_moment = timeout(Duration::from_millis(100), handing_over.as_mut().unwrap());
        assert!(a_moment.await.is_err());
        assert_eq!(tasks(&fleet), 1);
        handing_over.take_if(|_| is_dropped);
        let start = Instant::now();
        fleet.give_up(DEVICE).await;
        assert_eq!((tasks(&fleet), start.elapsed()), (0, Duration::ZERO));
        if let Some(handing_over) = handing_over {
            handing_over.await;
        }
        let events = world.lock().events.clone();
        let forgotten = events.iter().filter(|event| *event == "forget 1");
        assert_eq!(forgotten.count(), 1, "{events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_kept_online_for_nothing_shows_nothing() {
    let (fleet, _world) = online().await;
    assert!(!fleet.is_showing(DEVICE));
    fleet.show(DEVICE, &presence(NUMBER, "typing", 5)).await.unwrap();
    assert!(fleet.is_showing(DEVICE));
    sleep(Duration::from_secs(60)).await;
    assert!(!fleet.is_showing(DEVICE));
    fleet.set_keep_online(DEVICE, true);
    sleep(Duration::from_secs(1)).await;
    assert!(fleet.status(DEVICE).is_some_and(|status| status.available));
    assert!(!fleet.is_showing(DEVICE));
}
