//! What a node has: taken once, ended before it is another's, never mistaken for what it was.

use super::*;

#[test]
fn what_was_claimed_is_taken_in_its_epoch() {
    let mut driver = Driver::with(0);
    driver.wanted = 2;
    driver.read(&[1], &[owned(1, None, 4), owned(2, None, 0)]);
    driver.pass(SECOND);
    assert!(driver.under_way.contains(&Statement::Claim(node(1), 2)));
    let claimed = vec![owned(1, Some(1), 5), owned(2, Some(1), 1)];
    driver.answer(StatementKind::Claim, Answer::Claimed(claimed.clone()));
    assert_eq!(driver.told(), [Action::Take(claimed)]);
}

#[test]
fn a_claim_whose_answer_was_lost_is_made_up_for_by_the_next_read() {
    let mut driver = Driver::with(0);
    driver.wanted = 1;
    driver.read(&[1], &[owned(1, None, 0)]);
    driver.pass(SECOND);
    driver.answer(StatementKind::Claim, Answer::Failed);
    assert_eq!(driver.told(), []);
    driver.read(&[1], &[owned(1, Some(1), 1)]);
    assert_eq!(driver.told(), [Action::Take(vec![owned(1, Some(1), 1)])]);
}

#[test]
fn a_claim_of_a_run_that_is_over_takes_nothing() {
    let mut driver = Driver::with(0);
    driver.wanted = 1;
    driver.read(&[1], &[owned(1, None, 0)]);
    driver.pass(SECOND);
    driver.pass(3 * SECOND);
    driver.answer(StatementKind::Renew, Answer::Dead);
    driver.answer(StatementKind::Enter, Answer::Done);
    driver.done.clear();
    driver.answer(StatementKind::Claim, Answer::Claimed(vec![owned(1, Some(1), 1)]));
    assert_eq!(driver.told(), []);
}

#[test]
fn what_the_ledger_says_is_not_ours_is_given_up_unless_that_is_old() {
    let rows = [
        (owned(1, Some(2), 2), true),
        (owned(1, None, 1), true),
        (owned(1, None, 2), true),
        // Read before it was claimed, and answered after.
        (owned(1, None, 0), false),
        (owned(1, Some(2), 0), false),
        (owned(1, Some(1), 1), false),
    ];
    for (news, is_lost) in rows {
        let mut driver = Driver::with(1);
        driver.read(&[1, 2], &[news]);
        let expected = match is_lost {
            true => vec![Action::GiveUp(vec![instance(1)])],
            false => Vec::new(),
        };
        assert_eq!(driver.told(), expected, "{news:?}");
    }
}

#[test]
fn what_is_deleted_is_ended_and_no_loss() {
    let mut driver = Driver::with(2);
    driver.machine.handle_deleted(instance(1));
    driver.poll();
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(1)])]);
    driver.read(&[1, 2], &[owned(2, Some(2), 2)]);
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(2)])]);
    let there = [1, 2].map(|number| driver.machine.view().count(&[instance(number)]));
    assert_eq!(there, [0, 1]);
}

#[test]
fn what_comes_back_is_taken_only_after_its_old_session_has_ended() {
    let mut driver = Driver::with(1);
    driver.read(&[1, 2], &[owned(1, Some(2), 2)]);
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(1)])]);
    driver.read(&[1, 2], &[owned(1, Some(1), 3)]);
    assert_eq!(driver.told(), [], "the old one still ends");
    driver.given_up(&[1]);
    assert_eq!(driver.told(), [Action::Take(vec![owned(1, Some(1), 3)])]);
}

#[test]
fn what_was_anothers_in_between_is_ended_before_it_is_taken_anew() {
    let mut driver = Driver::with(1);
    // The read between the two epochs was missed.
    driver.read(&[1, 2], &[owned(1, Some(1), 3)]);
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(1)])]);
    driver.given_up(&[1]);
    assert_eq!(driver.told(), [Action::Take(vec![owned(1, Some(1), 3)])]);
}

#[test]
fn nothing_is_released_before_its_session_has_ended_and_then_until_it_is_answered() {
    let mut driver = Driver::with(2);
    driver.machine.handle_leave(60 * SECOND);
    driver.poll();
    let closing = [1, 2].map(|number| Action::HandOver(instance(number), Epoch(1)));
    assert_eq!(driver.told(), closing);
    driver.pass(SECOND);
    assert!(!driver.is_under_way(StatementKind::Release));
    driver.machine.handle_handed_over(instance(1), Epoch(1));
    driver.poll();
    let release = Statement::Release(node(1), vec![(instance(1), Epoch(1))]);
    assert!(
        driver.under_way.contains(&release),
        "in the epoch that it was had in"
    );
    driver.answer(StatementKind::Release, Answer::Failed);
    driver.pass(SECOND);
    assert!(driver.under_way.contains(&release));
    driver.answer(StatementKind::Release, Answer::Done);
    driver.machine.handle_handed_over(instance(2), Epoch(1));
    driver.poll();
    driver.answer(StatementKind::Leave, Answer::Done);
    assert!(driver.machine.is_over());
}

#[test]
fn the_end_of_a_session_of_an_earlier_epoch_releases_nothing() {
    let mut driver = Driver::with(1);
    driver.machine.handle_handed_over(instance(1), Epoch(1));
    driver.poll();
    assert!(
        !driver.is_under_way(StatementKind::Release),
        "it was not to be handed over"
    );
    driver.machine.handle_leave(60 * SECOND);
    driver.poll();
    driver.machine.handle_handed_over(instance(1), Epoch(0));
    driver.poll();
    assert!(!driver.is_under_way(StatementKind::Leave), "that was another one");
}

#[test]
fn a_session_that_does_not_end_in_its_time_is_given_up_and_then_released() {
    let mut driver = Driver::with(1);
    driver.machine.handle_leave(4 * SECOND);
    driver.poll();
    driver.done.clear();
    driver.pass_answering(4 * SECOND, &[StatementKind::Renew, StatementKind::Read]);
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(1)])]);
    assert!(!driver.is_under_way(StatementKind::Leave), "it may still run");
    driver.given_up(&[1]);
    assert!(driver.is_under_way(StatementKind::Leave));
}

#[test]
fn an_outage_that_lasts_ends_sessions_and_its_end_brings_them_back() {
    let mut driver = Driver::with(1);
    driver.pass(59 * SECOND);
    assert_eq!(driver.told(), []);
    driver.pass(SECOND);
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(1)])]);
    driver.given_up(&[1]);
    driver.pass(100 * SECOND);
    // One that began so long ago says nothing of now.
    driver.answer(StatementKind::Renew, Answer::Done);
    assert_eq!(driver.told(), []);
    driver.answer(StatementKind::Renew, Answer::Done);
    assert_eq!(driver.told(), [Action::Take(vec![owned(1, Some(1), 1)])]);
}

#[test]
fn what_was_deleted_is_given_up() {
    let mut driver = Driver::with(2);
    driver.machine.handle_deleted(instance(2));
    driver.poll();
    assert_eq!(driver.told(), [Action::GiveUp(vec![instance(2)])]);
}

#[test]
fn nothing_is_taken_before_the_lease_is_confirmed() {
    let mut driver = Driver::with(0);
    driver.wanted = 1;
    driver.pass(3 * SECOND);
    driver.now += 30 * SECOND;
    driver.poll();
    driver.read(&[1], &[owned(1, Some(1), 1)]);
    driver.answer(StatementKind::Renew, Answer::Done);
    assert_eq!(driver.told(), [], "it was claimed before a long sleep");
    driver.answer(StatementKind::Renew, Answer::Done);
    assert_eq!(driver.told(), [Action::Take(vec![owned(1, Some(1), 1)])]);
}

#[test]
fn no_more_is_handed_over_as_long_as_nobody_takes_it() {
    let mut driver = Driver::with(60);
    driver.read(&[1, 2], &[]);
    driver.pass_answering(20 * SECOND, &[StatementKind::Renew]);
    let told = driver.told();
    let moved = told
        .iter()
        .filter(|action| matches!(action, Action::HandOver(..)));
    assert_eq!(moved.count(), 10, "of the 30 that the other one is to have");
}

#[test]
fn what_another_node_was_to_take_and_does_not_is_taken_after_a_while() {
    let mut driver = Driver::with(1);
    driver.wanted = 2;
    driver.read(&[1, 2], &[owned(2, None, 0)]);
    driver.done.clear();
    driver.pass_answering(SECOND, &[StatementKind::Renew]);
    assert_eq!(driver.begun(StatementKind::Claim), []);
    driver.pass_answering(2 * SECOND, &[StatementKind::Renew]);
    assert!(driver.under_way.contains(&Statement::Claim(node(1), 1)));
}
