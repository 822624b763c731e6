//! Random commands, connections, names, delays and failures, against a model of what recipients' phones show.

mod world;

use proptest::prelude::*;

use self::world::World;
use super::*;

const TIMING: Timing = Timing {
    refresh: Duration::from_secs(5),
    display: Duration::from_secs(10),
    linger: Duration::from_secs(10),
};

/// A driver is late by less than the phone's patience.
const MAX_LATENESS_MS: u64 = 3_500;

#[derive(Clone, Debug)]
enum Operation {
    Show {
        chat: u8,
        indicator: Indicator,
        secs: u64,
    },
    Pause {
        chat: u8,
    },
    /// Time passes; each deadline is handled late by as much.
    Wait {
        ms: u64,
        late_ms: u64,
    },
    /// Time passes, and no deadline is handled before its end.
    Suspend {
        ms: u64,
    },
    Up,
    Down,
    KeepOnline(bool),
    /// The client library says otherwise.
    AvailabilityLost,
    Alias {
        alias: u8,
        chat: u8,
    },
    /// The account sends a message.
    OwnMessage {
        chat: u8,
    },
    /// The next chat state that is polled is not written.
    FailNext,
    Shutdown,
}

fn operation() -> impl Strategy<Value = Operation> {
    let indicator = prop_oneof![Just(TYPING), Just(RECORDING)];
    let secs = prop_oneof![Just(0_u64), 1_u64..=12, Just(60)];
    prop_oneof![
        12 => (0_u8..4, indicator, secs)
            .prop_map(|(chat, indicator, secs)| Operation::Show { chat, indicator, secs }),
        4 => (0_u8..4).prop_map(|chat| Operation::Pause { chat }),
        12 => (0_u64..12_000, prop_oneof![Just(0), 0..MAX_LATENESS_MS])
            .prop_map(|(ms, late_ms)| Operation::Wait { ms, late_ms }),
        2 => (0_u64..90_000).prop_map(|ms| Operation::Suspend { ms }),
        3 => Just(Operation::Up),
        3 => Just(Operation::Down),
        1 => any::<bool>().prop_map(Operation::KeepOnline),
        1 => Just(Operation::AvailabilityLost),
        2 => (0_u8..4, 0_u8..4).prop_map(|(alias, chat)| Operation::Alias { alias, chat }),
        4 => (0_u8..4).prop_map(|chat| Operation::OwnMessage { chat }),
        2 => Just(Operation::FailNext),
        1 => Just(Operation::Shutdown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn phones_show_what_the_last_commands_say(
        raise_availability in prop::bool::weighted(0.8),
        keep_online in prop::bool::weighted(0.2),
        operations in prop::collection::vec(operation(), 0..60),
    ) {
        let mut world = World::new(Policy { raise_availability, keep_online });
        world.run(&Operation::Up);
        for operation in &operations {
            world.run(operation);
        }
        world.finish();
    }
}
