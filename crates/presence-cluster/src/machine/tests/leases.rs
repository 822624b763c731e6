//! The lease: how it is kept, how it is lost, and who strikes off whom.

use super::*;
use crate::standing::Standing;

#[test]
fn a_renewal_waits_for_no_other_statement() {
    let mut driver = Driver::with(3);
    driver.pass_answering(13 * SECOND, &[StatementKind::Renew]);
    assert_eq!(driver.begun(StatementKind::Renew), [3_000, 6_000, 9_000, 12_000]);
    assert!(
        driver.is_under_way(StatementKind::Read),
        "which was never answered"
    );
    assert_eq!(driver.machine.standing(), Standing::Member);
}

#[test]
fn a_lease_that_was_lost_is_never_taken_back() {
    let mut driver = Driver::with(3);
    driver.pass(3 * SECOND);
    driver.answer(StatementKind::Renew, Answer::Dead);
    let everything = (1..=3).map(instance).collect();
    assert_eq!(driver.told(), [Action::GiveUp(everything), Action::ChooseId]);
    assert!(!driver.acts());
    assert_eq!(driver.machine.standing(), Standing::Outside);
    driver.answer(StatementKind::Enter, Answer::Done);
    driver.pass_answering(10 * SECOND, &[StatementKind::Renew, StatementKind::Read]);
    let renewed = driver.done.iter().filter_map(|(_, action)| match action {
        Action::Begin(Statement::Renew(id)) => Some(*id),
        _ => None,
    });
    assert!(renewed.clone().count() > 1);
    assert!(
        renewed.into_iter().all(|id| id == node(2)),
        "only the new run is renewed"
    );
}

#[test]
fn whatever_says_that_a_run_is_dead_ends_it() {
    let mut claims = Driver::with(3);
    claims.read(&[1], &[owned(4, None, 0)]);
    claims.wanted = 4;
    claims.pass(SECOND);
    claims.answer(StatementKind::Claim, Answer::Dead);
    let mut reads = Driver::with(3);
    reads.read(&[7], &[]);
    for mut driver in [claims, reads] {
        let everything = (1..=3).map(instance).collect();
        assert_eq!(driver.told(), [Action::GiveUp(everything), Action::ChooseId]);
    }
}

#[test]
fn a_read_from_before_the_node_entered_does_not_end_it() {
    let mut driver = Driver::new();
    assert!(driver.is_under_way(StatementKind::Read));
    driver.now += Duration::from_millis(10);
    driver.answer(StatementKind::Enter, Answer::Done);
    driver.done.clear();
    driver.read(&[], &[]);
    assert_eq!(driver.told(), []);
}

#[test]
fn what_was_entered_without_an_answer_is_withdrawn_and_entered_as_another_node() {
    let mut driver = Driver::new();
    driver.answer(StatementKind::Enter, Answer::Failed);
    driver.pass(SECOND);
    assert!(driver.under_way.contains(&Statement::Leave(node(1))));
    driver.answer(StatementKind::Leave, Answer::Failed);
    driver.pass(SECOND);
    driver.answer(StatementKind::Leave, Answer::Done);
    assert!(driver.under_way.contains(&Statement::Enter(node(2))));
}

#[test]
fn nobody_is_struck_off_before_a_whole_lease_of_contact() {
    const ALL: [StatementKind; 3] = [
        StatementKind::Renew,
        StatementKind::Read,
        StatementKind::StrikeOff,
    ];
    let mut driver = Driver::with(0);
    driver.pass_answering(30 * SECOND, &ALL);
    let begun = driver.begun(StatementKind::StrikeOff);
    assert_eq!(begun[0], 9_000);
    assert!(
        begun.windows(2).all(|pair| pair[1] - pair[0] <= 1_000),
        "{begun:?}"
    );
    driver.done.clear();
    // One failure, and the count begins anew.
    driver.pass(SECOND);
    let failed_at = (driver.now - driver.begun).as_millis();
    driver.answer(StatementKind::Read, Answer::Failed);
    driver.done.clear();
    driver.pass_answering(30 * SECOND, &ALL);
    let again = driver.begun(StatementKind::StrikeOff)[0];
    assert!(
        (9_000..=11_000).contains(&(again - failed_at)),
        "{again} after {failed_at}"
    );
}

#[test]
fn nobody_is_struck_off_while_an_own_renewal_is_late() {
    let mut driver = Driver::with(0);
    driver.pass_answering(
        30 * SECOND,
        &[
            StatementKind::Renew,
            StatementKind::Read,
            StatementKind::StrikeOff,
        ],
    );
    driver.done.clear();
    let since = (driver.now - driver.begun).as_millis();
    driver.pass_answering(20 * SECOND, &[StatementKind::Read, StatementKind::StrikeOff]);
    let last = driver.begun(StatementKind::StrikeOff).last().copied().unwrap();
    assert!(last - since <= 4_000, "{last} after {since}");
}

#[test]
fn an_answer_that_took_longer_than_a_renewal_is_due_is_no_contact() {
    let mut driver = Driver::with(0);
    let well = [StatementKind::Renew, StatementKind::StrikeOff];
    driver.pass_answering(
        30 * SECOND,
        &[
            StatementKind::Renew,
            StatementKind::Read,
            StatementKind::StrikeOff,
        ],
    );
    driver.pass_answering(Duration::from_millis(4_500), &well);
    driver.read(&[1], &[]);
    driver.done.clear();
    let since = (driver.now - driver.begun).as_millis();
    driver.pass_answering(
        30 * SECOND,
        &[
            StatementKind::Renew,
            StatementKind::Read,
            StatementKind::StrikeOff,
        ],
    );
    let first = driver.begun(StatementKind::StrikeOff)[0];
    assert!(first - since >= 9_000, "{first} after {since}");
}

#[test]
fn a_renewal_whose_answer_was_lost_is_followed_by_none_before_anything_is_heard() {
    let mut driver = Driver::with(1);
    driver.pass(3 * SECOND);
    driver.answer(StatementKind::Renew, Answer::Failed);
    driver.answer(StatementKind::Read, Answer::Failed);
    driver.done.clear();
    driver.pass(10 * SECOND);
    assert_eq!(driver.begun(StatementKind::Renew), []);
    driver.read(&[1], &[]);
    assert_eq!(driver.begun(StatementKind::Renew).len(), 1, "at once");
}

#[test]
fn who_slept_past_the_lease_acts_again_when_a_renewal_of_now_is_answered() {
    let mut driver = Driver::with(2);
    driver.pass(3 * SECOND);
    assert!(driver.is_under_way(StatementKind::Renew));
    driver.now += 30 * SECOND;
    driver.poll();
    assert!(!driver.acts());
    driver.answer(StatementKind::Renew, Answer::Done);
    assert!(!driver.acts(), "it began before the sleep");
    assert_eq!(driver.machine.standing(), Standing::CutOff);
    driver.answer(StatementKind::Renew, Answer::Done);
    assert!(driver.acts());
    assert_eq!(driver.told(), [], "nothing was lost");
}

#[test]
fn how_long_a_node_acts() {
    let (awake, asleep) = (true, false);
    let rows = [
        // Within the lease, whatever it did meanwhile.
        (Duration::from_secs(8), awake, true),
        (Duration::from_secs(8), asleep, true),
        // Cut off, as long as it does not sleep, and not for ever.
        (Duration::from_secs(10), awake, true),
        (Duration::from_secs(10), asleep, false),
        (Duration::from_secs(59), awake, true),
        (Duration::from_secs(61), awake, false),
    ];
    for (long, is_awake, acts) in rows {
        let mut driver = Driver::with(2);
        if is_awake {
            driver.pass(long);
        } else {
            driver.now += long;
            driver.poll();
        }
        assert_eq!(driver.acts(), acts, "{long:?}, awake: {is_awake}");
    }
}

#[test]
fn nobody_is_struck_off_by_a_statement_that_waits_where_renewals_do() {
    let mut driver = Driver::with(0);
    let all = [
        StatementKind::Renew,
        StatementKind::Read,
        StatementKind::StrikeOff,
    ];
    driver.pass_answering(30 * SECOND, &all);
    driver.done.clear();
    driver.pass(2 * SECOND);
    assert_eq!(driver.begun(StatementKind::StrikeOff), [], "nothing was answered");
}
