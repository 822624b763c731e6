//! What the database saw the nodes do, written down by triggers that only this test has.

use anyhow::ensure;

use super::database::Database;

/// Nodes connect under the address that others reach them at, so each write tells whose it is. What an instance's
/// owner may not do, and what nobody may, is kept.
const TRIGGERS: &str = "
CREATE SCHEMA audit;
CREATE TABLE audit.wrong (at timestamptz NOT NULL DEFAULT clock_timestamp(), what text NOT NULL);
CREATE TABLE audit.taken (at timestamptz NOT NULL DEFAULT clock_timestamp(), instance_id integer, epoch bigint);

CREATE FUNCTION audit.owned() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF NEW.epoch < OLD.epoch OR NEW.epoch > OLD.epoch + 1 THEN
        INSERT INTO audit.wrong (what) VALUES (
            format('instance %s went from epoch %s to %s', NEW.instance_id, OLD.epoch, NEW.epoch));
    END IF;
    IF NEW.node_id IS NOT NULL AND NEW.node_id IS DISTINCT FROM OLD.node_id THEN
        INSERT INTO audit.taken (instance_id, epoch) VALUES (NEW.instance_id, NEW.epoch);
        IF NEW.epoch = OLD.epoch THEN
            INSERT INTO audit.wrong (what) VALUES (
                format('instance %s was taken without a new epoch, %s', NEW.instance_id, NEW.epoch));
        END IF;
        IF OLD.node_id IS NOT NULL THEN
            INSERT INTO audit.wrong (what) VALUES (
                format('instance %s was taken in epoch %s while another node had it', NEW.instance_id, NEW.epoch));
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_owned AFTER UPDATE ON public.ownership FOR EACH ROW EXECUTE FUNCTION audit.owned();

CREATE FUNCTION audit.keys_written() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    writer text := current_setting('application_name');
    owner text;
BEGIN
    SELECT coalesce(n.address, 'nobody') INTO owner
    FROM public.ownership AS o LEFT JOIN public.node AS n ON n.id = o.node_id WHERE o.instance_id = NEW.device;
    -- Keys of an instance that was deleted are wiped by whoever comes by.
    IF owner <> writer THEN
        INSERT INTO audit.wrong (what) VALUES (
            format('%s wrote a key of instance %s, which %s had', writer, NEW.device, owner));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_keys AFTER INSERT OR UPDATE ON public.key
FOR EACH ROW EXECUTE FUNCTION audit.keys_written();
";

/// Begins to look on. The tables must be there, so a node must have run.
pub(super) fn begin(database: &Database) -> anyhow::Result<()> {
    database.execute(TRIGGERS)
}

/// Fails when a node did what it may not.
pub(super) fn check(database: &Database) -> anyhow::Result<()> {
    let wrong: Vec<(String,)> = database.read("SELECT what FROM audit.wrong ORDER BY at LIMIT 5")?;
    let wrong: Vec<String> = wrong.into_iter().map(|(what,)| what).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    let orphans: Vec<(i64,)> = database.read(
        "SELECT count(*) FROM public.instance AS i LEFT JOIN public.ownership AS o ON o.instance_id = i.id
         WHERE o.instance_id IS NULL",
    )?;
    ensure!(
        orphans.iter().all(|(count,)| *count == 0),
        "{} instances have no row of ownership",
        orphans[0].0
    );
    Ok(())
}
