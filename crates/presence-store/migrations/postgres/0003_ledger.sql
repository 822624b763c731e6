-- Which nodes live, and who has which instance.
--
-- Whoever changes what nodes own does it with one call of a function. So it is one transaction that ends by itself: a
-- node that is frozen or cut off in the middle leaves no lock. In a function each statement sees what was committed
-- before it began, which the parts of a single statement do not; and all of them lock the row of `ledger` first, so
-- they take turns.

-- A row is a node that lives, whether its lease is over or not.
CREATE TABLE node (
    id         uuid        PRIMARY KEY,
    address    text        NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 10);

-- One row, counted up by each change of `ownership`.
CREATE TABLE ledger (
    version bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO ledger VALUES (0);

CREATE TABLE ownership (
    instance_id integer PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,
    node_id     uuid    REFERENCES node (id),            -- NULL: nobody has it
    epoch       bigint  NOT NULL DEFAULT 0,              -- how often it was taken
    version     bigint  NOT NULL                         -- the ledger's, when it last changed
) WITH (fillfactor = 50);
CREATE INDEX ownership_node ON ownership (node_id);
CREATE INDEX ownership_version ON ownership (version);

-- What instances show, sealed with the token key: for who takes them when their node is lost. It means nothing after a
-- minute, so it need not survive a crash of the database.
CREATE UNLOGGED TABLE shown (
    instance_id integer     PRIMARY KEY REFERENCES instance (id) ON DELETE CASCADE,
    sealed      bytea       NOT NULL,
    kept_at     timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE FUNCTION next_ledger_version() RETURNS bigint LANGUAGE sql
AS 'UPDATE ledger SET version = version + 1 RETURNING version';

CREATE FUNCTION give_ownership() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An update that took the place of an insertion made none.
    IF EXISTS (SELECT FROM made) THEN
        PERFORM next_ledger_version();
        INSERT INTO ownership (instance_id, version) SELECT made.id, ledger.version FROM made, ledger;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER instance_owned AFTER INSERT ON instance
REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION give_ownership();

CREATE FUNCTION tell_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY presence_ledger;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_changed AFTER UPDATE ON ledger
FOR EACH STATEMENT EXECUTE FUNCTION tell_of_ledger();
-- A renewal is no change that anybody waits for.
CREATE TRIGGER node_changed AFTER INSERT OR DELETE ON node
FOR EACH STATEMENT EXECUTE FUNCTION tell_of_ledger();

-- Locks the node's row against its deletion; PN001 when there is none.
CREATE FUNCTION expect_living(living uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM node WHERE id = living FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the node lives no longer' USING ERRCODE = 'PN001';
    END IF;
END $$;

-- In order, as flushes of device keys lock them too.
CREATE FUNCTION free_all_of(nodes uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM ownership WHERE node_id = ANY (nodes) ORDER BY instance_id FOR UPDATE;
    UPDATE ownership SET node_id = NULL, version = (SELECT l.version FROM ledger AS l)
    WHERE node_id = ANY (nodes);
END $$;

CREATE FUNCTION strike_off_nodes(striker uuid) RETURNS SETOF uuid LANGUAGE plpgsql
SET lock_timeout = '4s' AS $$
DECLARE
    struck uuid[];
BEGIN
    -- Nearly always there is nobody, and nothing to lock.
    IF NOT EXISTS (SELECT FROM node WHERE id <> striker AND expires_at < clock_timestamp()) THEN
        RETURN;
    END IF;
    PERFORM next_ledger_version();
    PERFORM FROM node WHERE id = striker FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Who renews just now is waited for, and looked at again.
    SELECT array_agg(id) INTO struck FROM (
        SELECT id FROM node WHERE id <> striker AND expires_at < clock_timestamp() ORDER BY id FOR UPDATE
    ) AS expired;
    PERFORM free_all_of(struck);
    DELETE FROM node WHERE id = ANY (struck);
    RETURN QUERY SELECT unnest(struck);
END $$;

CREATE FUNCTION remove_node(leaver uuid) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '4s' AS $$
BEGIN
    PERFORM next_ledger_version();
    PERFORM FROM node WHERE id = leaver FOR UPDATE;
    PERFORM free_all_of(ARRAY[leaver]);
    DELETE FROM node WHERE id = leaver;
END $$;

-- A row that a flush of the one who had it still locks is left for the next time.
CREATE FUNCTION claim_instances(claimer uuid, most integer) RETURNS TABLE (claimed integer, new_epoch bigint)
LANGUAGE plpgsql SET lock_timeout = '4s' AS $$
DECLARE
    next_version bigint;
BEGIN
    PERFORM expect_living(claimer);
    IF NOT EXISTS (SELECT FROM ownership WHERE node_id IS NULL) THEN
        RETURN;
    END IF;
    next_version := next_ledger_version();
    RETURN QUERY
    UPDATE ownership AS o SET node_id = claimer, epoch = o.epoch + 1, version = next_version
    WHERE o.instance_id IN (
        SELECT free.instance_id FROM ownership AS free JOIN instance AS i ON i.id = free.instance_id
        WHERE free.node_id IS NULL
        ORDER BY i.last_used DESC NULLS LAST, i.id LIMIT most
        FOR UPDATE OF free SKIP LOCKED
    )
    RETURNING o.instance_id, o.epoch;
END $$;

-- NULL: another node has it, or there is no such instance.
CREATE FUNCTION claim_instance(claimer uuid, wanted integer) RETURNS bigint LANGUAGE plpgsql
SET lock_timeout = '4s' AS $$
DECLARE
    next_version bigint;
    found_epoch bigint;
BEGIN
    PERFORM expect_living(claimer);
    SELECT epoch INTO found_epoch FROM ownership WHERE instance_id = wanted AND node_id = claimer;
    IF FOUND OR NOT EXISTS (SELECT FROM ownership WHERE instance_id = wanted AND node_id IS NULL) THEN
        RETURN found_epoch;
    END IF;
    next_version := next_ledger_version();
    UPDATE ownership SET node_id = claimer, epoch = epoch + 1, version = next_version
    WHERE instance_id = wanted AND node_id IS NULL
    RETURNING epoch INTO found_epoch;
    RETURN found_epoch;
END $$;

CREATE FUNCTION release_instances(releaser uuid, instances integer[], epochs bigint[]) RETURNS void LANGUAGE plpgsql
SET lock_timeout = '4s' AS $$
DECLARE
    next_version bigint := next_ledger_version();
BEGIN
    PERFORM FROM ownership WHERE instance_id = ANY (instances) ORDER BY instance_id FOR UPDATE;
    UPDATE ownership AS o SET node_id = NULL, version = next_version
    FROM unnest(instances, epochs) AS given (instance_id, epoch)
    WHERE (o.instance_id, o.node_id, o.epoch) = (given.instance_id, releaser, given.epoch);
END $$;
