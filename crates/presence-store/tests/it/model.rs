//! Random changes: the registry in memory and those in a file and in PostgreSQL must answer alike, and a reader that comes
//! later must see what the one that wrote sees.

use chrono::DateTime;
use presence_store::{AccountId, CreateAccountError, CreateInstanceError, Edge, InstanceId, NewInstance};
use presence_store::{Registry, Store};
use proptest::prelude::*;

#[cfg(feature = "postgres-tests")]
use crate::postgres::TestDatabase;
use crate::support::{data_dir, new_instance, now, open, parsed};

/// Names and tokens are few, so that they collide. Records are picked among all that ever were.
#[derive(Clone, Debug)]
enum Operation {
    CreateAccount { name: u8, quota: Option<u32> },
    RotateAccount(usize),
    DeleteAccount(usize),
    CreateInstance { owner: usize, name: u8, token: u8 },
    KeepOnline(usize, bool),
    LoggedOut(usize, bool),
    BannedUntil(usize, Option<i64>),
    DeleteInstance(usize),
    Pin(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let any_record = 0..6_usize;
    prop_oneof![
        3 => (0..4_u8, prop::option::of(0..3_u32)).prop_map(|(name, quota)| CreateAccount { name, quota }),
        1 => any_record.clone().prop_map(RotateAccount),
        1 => any_record.clone().prop_map(DeleteAccount),
        8 => (any_record.clone(), 0..4_u8, 0..9_u8)
            .prop_map(|(owner, name, token)| CreateInstance { owner, name, token }),
        2 => (any_record.clone(), any::<bool>()).prop_map(|(which, to)| KeepOnline(which, to)),
        2 => (any_record.clone(), any::<bool>()).prop_map(|(which, to)| LoggedOut(which, to)),
        2 => (any_record.clone(), prop::option::of(0..9_i64)).prop_map(|(which, to)| BannedUntil(which, to)),
        3 => any_record.prop_map(DeleteInstance),
        1 => any::<bool>().prop_map(Pin),
    ]
}

/// What ever got a number.
#[derive(Default)]
struct Numbers {
    accounts: Vec<AccountId>,
    instances: Vec<InstanceId>,
}

/// Does `operation` and tells how it ended.
async fn perform(registry: &Store, numbers: &mut Numbers, operation: &Operation) -> String {
    let account = |which: usize| numbers.accounts.get(which).copied();
    let instance = |which: usize| numbers.instances.get(which).copied();
    match *operation {
        Operation::CreateAccount { name, quota } => {
            match registry
                .create_account(parsed(&format!("account-{name}")), quota, now())
                .await
            {
                Ok((made, _)) => {
                    numbers.accounts.push(made.id);
                    format!("{made:?}")
                }
                Err(error @ CreateAccountError::NameTaken) => error.to_string(),
                Err(error) => panic!("{error:?}"),
            }
        }
        Operation::CreateInstance { owner, name, token } => {
            let Some(owner) = account(owner) else {
                return String::new();
            };
            let token = Some(parsed(&format!("own-token-number-{token}")));
            let new = NewInstance {
                token,
                ..new_instance(&format!("instance-{name}"))
            };
            match registry.create_instance(owner, new).await {
                Ok((made, _)) => {
                    numbers.instances.push(made.id);
                    format!("{made:?}")
                }
                Err(CreateInstanceError::Store(error)) => panic!("{error:?}"),
                Err(error) => error.to_string(),
            }
        }
        Operation::RotateAccount(which) => match account(which) {
            Some(id) => registry.rotate_account(id).await.unwrap().is_some().to_string(),
            None => String::new(),
        },
        Operation::DeleteAccount(which) => match account(which) {
            Some(id) => registry.delete_account(id).await.unwrap().to_string(),
            None => String::new(),
        },
        Operation::KeepOnline(which, to) => match instance(which) {
            Some(id) => registry.set_keep_online(id, to).await.unwrap().to_string(),
            None => String::new(),
        },
        Operation::LoggedOut(which, to) => match instance(which) {
            Some(id) => registry.set_logged_out(id, to).await.unwrap().to_string(),
            None => String::new(),
        },
        Operation::BannedUntil(which, to) => match instance(which) {
            Some(id) => {
                let until = to.and_then(DateTime::from_timestamp_millis);
                registry.set_banned_until(id, until).await.unwrap().to_string()
            }
            None => String::new(),
        },
        Operation::DeleteInstance(which) => match instance(which) {
            Some(id) => registry.delete_instance(id).await.unwrap().to_string(),
            None => String::new(),
        },
        Operation::Pin(real) => {
            let edge = if real { Edge::WhatsApp } else { Edge::Sandbox };
            registry
                .pin_edge(edge)
                .await
                .map_err(|error| error.to_string())
                .err()
                .unwrap_or_default()
        }
    }
}

/// Performs `operations` on `writers` in turn, none of which looks for the other's changes, and in memory.
async fn compare(writers: &[Store; 2], operations: &[Operation]) -> Result<Store, TestCaseError> {
    let memory = Store::in_memory().unwrap();
    let (mut written, mut in_memory) = (Numbers::default(), Numbers::default());
    for (step, operation) in operations.iter().enumerate() {
        let one = perform(&writers[step % 2], &mut written, operation).await;
        let other = perform(&memory, &mut in_memory, operation).await;
        prop_assert_eq!(one, other, "step {}: {:?}", step, operation);
    }
    let expected = crate::support::view(&memory);
    for writer in writers {
        writer.refresh().await.unwrap();
        prop_assert_eq!(&crate::support::view(writer), &expected);
    }
    Ok(memory)
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_and_memory_agree_on_everything(operations in prop::collection::vec(operation(), 1..60)) {
        block_on(async {
            let (_temporary, dir) = data_dir();
            let writers = [open(&dir).await, open(&dir).await];
            let memory = compare(&writers, &operations).await?;
            prop_assert_eq!(crate::support::view(&open(&dir).await), crate::support::view(&memory));
            Ok(())
        })?;
    }

    #[test]
    #[cfg(feature = "postgres-tests")]
    fn postgres_and_memory_agree_on_everything(operations in prop::collection::vec(operation(), 1..60)) {
        block_on(async {
            let database = TestDatabase::create().await;
            let writers = [database.registry().await, database.registry().await];
            let memory = compare(&writers, &operations).await?;
            let later = database.registry().await;
            prop_assert_eq!(crate::support::view(&later), crate::support::view(&memory));
            Ok(())
        })?;
    }
}
