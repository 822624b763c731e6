//! The tables of ours in the WhatsApp client's file. The client migrates its own and ignores others.

use std::collections::BTreeMap;

use presence_core::InstanceId;
use sqlx::SqliteConnection;

/// Makes them when they are missing.
pub(super) async fn create(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(SCHEMA).execute(connection).await?;
    Ok(())
}

/// Writes a row, for the sake of writing.
pub(super) async fn write_check(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO presence_check (id, count) VALUES (1, 0)
         ON CONFLICT (id) DO UPDATE SET count = (count + 1) % 1000",
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn set_pairing_number(
    connection: &mut SqliteConnection,
    instance: InstanceId,
    number: u32,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO presence_pairing (instance, number) VALUES (?, ?)
         ON CONFLICT (instance) DO UPDATE SET number = max(number, excluded.number)",
    )
    .bind(instance.get())
    .bind(number)
    .execute(connection)
    .await?;
    Ok(())
}

/// None where the tables were never made.
pub(super) async fn pairing_numbers(
    connection: &mut SqliteConnection,
) -> sqlx::Result<BTreeMap<InstanceId, u32>> {
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'presence_pairing')")
            .fetch_one(&mut *connection)
            .await?;
    if !there {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i32, u32)> = sqlx::query_as("SELECT instance, number FROM presence_pairing")
        .fetch_all(connection)
        .await?;
    let numbers = rows
        .into_iter()
        .filter_map(|(instance, number)| Some((InstanceId::new(instance)?, number)));
    Ok(numbers.collect())
}

/// `presence_pairing` stays when keys are wiped, so its column is none that a wipe looks for.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS presence_check (
        id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS presence_pairing (
        instance INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT;
";
