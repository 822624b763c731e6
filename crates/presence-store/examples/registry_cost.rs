//! What a change of the registry costs in memory when it holds 10,000 instances, and what a question costs:
//! `cargo run --release --package presence-store --example registry_cost`.

use std::error::Error;
use std::io::Write as _;

use chrono::DateTime;
use presence_store::{NewInstance, Registry, Store};
use tokio::time::Instant;

const INSTANCES: u32 = 10_000;
const CHANGES: u32 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    let (store, now) = (Store::in_memory()?, DateTime::UNIX_EPOCH);
    let mut ids = Vec::new();
    let mut token = None;
    for number in 0..INSTANCES {
        // Ten to an account.
        if number % 10 == 0 {
            let name = format!("account-{}", number / 10).parse()?;
            let (account, new) = store.create_account(name, None, now).await?;
            token = Some((account.id, new));
        }
        let (account, _) = token.as_ref().ok_or("no account")?;
        let new = NewInstance {
            name: format!("instance-{number}").parse()?,
            token: None,
            keep_online: false,
            proxy: None,
            now,
        };
        ids.push(store.create_instance(*account, new).await?.0.id);
    }

    let start = Instant::now();
    for (number, id) in (0..CHANGES).zip(ids.iter().cycle()) {
        store.set_keep_online(*id, number % 2 == 0).await?;
    }
    writeln!(
        out,
        "a setting among {INSTANCES} instances: {:?}",
        start.elapsed() / CHANGES
    )?;

    let (account, token) = token.ok_or("no account")?;
    let start = Instant::now();
    for _ in 0..CHANGES {
        if store.authenticate(token.expose()).is_none() {
            return Err("a token is lost".into());
        }
    }
    writeln!(out, "a token looked up: {:?}", start.elapsed() / CHANGES)?;

    let start = Instant::now();
    for number in 0..CHANGES {
        let new = NewInstance {
            name: format!("more-{number}").parse()?,
            token: None,
            keep_online: false,
            proxy: None,
            now,
        };
        let (made, _) = store.create_instance(account, new).await?;
        store.delete_instance(made.id).await?;
    }
    writeln!(
        out,
        "an instance created and deleted again: {:?}",
        start.elapsed() / CHANGES
    )?;
    Ok(())
}
