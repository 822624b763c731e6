//! Nobody reaches WhatsApp for a while: how soon all are back when it is over, and what that does not touch.

use super::*;
use crate::backoff::Backoff;
use crate::fake::Script;
use crate::proxy::ProxyFault;
use crate::session::End;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Within this time all have tried once more after the first of them was back, as the session's machine says; a bit
/// more, for timers round up, and logins are a millisecond apart.
const HURRIED_WITHIN: Duration = Duration::from_millis(3_300);

async fn online_fleet(world: &Arc<World>, devices: &[InstanceId]) -> Fleet {
    let fleet = fleet(world);
    for &device in devices {
        resume(&fleet, world, device);
    }
    for &device in devices {
        until(&fleet, device, InstanceState::Connected).await;
    }
    sleep(MINUTE).await;
    fleet
}

fn attempts_since(world: &World, start: Instant) -> Vec<(Instant, InstanceId)> {
    let state = world.lock();
    let since = state.opened.iter().filter(|(at, _)| *at >= start);
    since.copied().collect()
}

/// When the last of `devices` was online.
async fn all_back(fleet: &Fleet, devices: &[InstanceId]) -> Instant {
    for &device in devices {
        until(fleet, device, InstanceState::Connected).await;
    }
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn after_thirty_seconds_without_whatsapp_a_hundred_sessions_are_back_within_ten() {
    let world = World::new();
    let devices: Vec<_> = (1..=100).map(id).collect();
    let fleet = online_fleet(&world, &devices).await;
    world.cut_off(Duration::ZERO);
    sleep(30 * SECOND).await;
    world.lock().cut_off = None;
    let over = Instant::now();
    let back = all_back(&fleet, &devices).await;
    assert!(back - over < 10 * SECOND, "{:?}", back - over);
    let attempts = attempts_since(&world, over);
    assert_eq!(attempts.len(), devices.len(), "each needed one login");
    let first = attempts[0].0;
    assert!(back - first <= HURRIED_WITHIN, "{:?}", back - first);
    // They do not come at once, either.
    let early = attempts.iter().filter(|(at, _)| *at < first + SECOND).count();
    assert!(early < 70, "{early}");
}

#[tokio::test(start_paused = true)]
async fn attempts_that_hang_since_before_the_end_are_repeated_soon_as_well() {
    let world = World::new();
    let devices: Vec<_> = (1..=100).map(id).collect();
    let fleet = online_fleet(&world, &devices).await;
    let hang = 10 * SECOND;
    world.cut_off(hang);
    sleep(30 * MINUTE).await;
    world.lock().cut_off = None;
    let over = Instant::now();
    let back = all_back(&fleet, &devices).await;
    let first = attempts_since(&world, over)[0].0;
    let limit = first.max(over + hang) + HURRIED_WITHIN;
    assert!(back <= limit, "{:?}", back - over);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_reaches_whatsapp_nobody_tries_more_often() {
    let world = World::new();
    let devices: Vec<_> = (1..=50).map(id).collect();
    let fleet = online_fleet(&world, &devices).await;
    let start = Instant::now();
    world.cut_off(Duration::ZERO);
    sleep(HOUR).await;
    let mean = mean_late_wait(&world, &devices, start);
    assert!((50..70).contains(&mean), "{mean}");
    assert_eq!(state(&fleet, id(1)), InstanceState::Connecting);
}

#[tokio::test(start_paused = true)]
async fn logins_of_others_do_not_hurry_those_who_fail_for_what_is_their_own() {
    let world = World::new();
    let fleet = fleet(&world);
    let proxy = End::ProxyFailed {
        fault: ProxyFault::Refused,
        cause: "refused".to_owned(),
    };
    let lost = || End::Lost("reset".to_owned());
    let through_proxy: Vec<_> = (1..=20).map(id).collect();
    let beyond_proxy: Vec<_> = (21..=40).map(id).collect();
    let blinking: Vec<_> = (41..=60).map(id).collect();
    world
        .lock()
        .proxied
        .extend(through_proxy.iter().chain(&beyond_proxy));
    for (devices, script) in [
        (&through_proxy, Script::Ends(proxy)),
        (&beyond_proxy, Script::Ends(lost())),
        (&blinking, Script::OnlineThen(Duration::from_millis(10), lost())),
    ] {
        for &device in devices {
            world.script(device, vec![script.clone(); 4000]);
            resume(&fleet, &world, device);
        }
    }
    let start = Instant::now();
    for other in 1000..4600 {
        resume(&fleet, &world, id(other));
        sleep(SECOND).await;
    }
    for devices in [&through_proxy, &beyond_proxy, &blinking] {
        let mean = mean_late_wait(&world, devices, start);
        assert!((50..70).contains(&mean), "{mean}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_got_through_by_its_proxy_says_nothing_to_those_who_have_none() {
    let world = World::new();
    let fleet = fleet(&world);
    let direct: Vec<_> = (1..=50).map(id).collect();
    for &device in &direct {
        world.script(device, vec![Script::Ends(End::Lost("refused".to_owned())); 1000]);
        resume(&fleet, &world, device);
    }
    sleep(10 * MINUTE).await;
    world.lock().proxied.push(id(100));
    let mut attempts = Vec::new();
    for other in [100, 101] {
        let start = Instant::now();
        resume(&fleet, &world, id(other));
        sleep(HURRIED_WITHIN).await;
        attempts.push(attempts_since(&world, start).len() - 1);
    }
    // They try each minute on average.
    assert!(attempts[0] < 15, "{attempts:?}");
    assert!(attempts[1] >= 45, "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_rejected_waits_as_long_as_before() {
    for (end, least) in [
        (End::Rejected(Some(429)), MINUTE),
        (End::Banned(Some(HOUR)), HOUR),
        (End::Rejected(Some(409)), HOUR),
    ] {
        let world = World::new();
        let fleet = fleet(&world);
        let rejected: Vec<_> = (1..=20).map(id).collect();
        for &device in &rejected {
            world.script(device, [Script::Ends(end.clone())]);
            resume(&fleet, &world, device);
        }
        for other in 100..160 {
            resume(&fleet, &world, id(other));
            sleep(SECOND).await;
        }
        sleep(2 * HOUR).await;
        for &device in &rejected {
            let opened = world.opened(device);
            assert!(opened[1] - opened[0] >= least, "{end:?}: {opened:?}");
        }
    }
}

/// How many seconds `devices` wait on average once their back-off has reached its cap.
fn mean_late_wait(world: &World, devices: &[InstanceId], start: Instant) -> u64 {
    // The attempt that finds out, and one after each of the waits of up to 1 s, 2, 4, … 64 s.
    let growing = (0..).take_while(|n| Backoff::default().ceiling(*n) < Backoff::default().cap);
    let growing = 1 + growing.count();
    let mut waits = Vec::new();
    for &device in devices {
        let mut opened = world.opened(device);
        opened.retain(|at| *at >= start);
        let late = opened.get(growing..).unwrap_or_default();
        waits.extend(late.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()));
    }
    (waits.iter().sum::<f64>() / waits.len() as f64) as u64
}
