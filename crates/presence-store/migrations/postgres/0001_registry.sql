-- Accounts and their instances, as in presence.db. Times are Unix milliseconds.

CREATE TABLE account (
    id             bigint PRIMARY KEY,
    name           text   NOT NULL UNIQUE,
    token_hash     bytea  NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    quota          bigint CHECK (quota >= 0),            -- NULL: no limit
    created_at     bigint NOT NULL,
    sealed_webhook bytea                                 -- NULL: none
);

CREATE TABLE instance (
    id             integer PRIMARY KEY CHECK (id > 0),
    account_id     bigint  NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name           text    NOT NULL,
    token_hash     bytea   NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    sealed_token   bytea   NOT NULL,
    keep_online    boolean NOT NULL,
    logged_out     boolean NOT NULL,
    created_at     bigint  NOT NULL,
    banned_until   bigint,
    last_used      bigint,
    pairing_number bigint  NOT NULL CHECK (pairing_number >= 0),
    sealed_proxy   bytea,                                -- NULL: none
    UNIQUE (account_id, name)
) WITH (fillfactor = 80);

-- Instances that were deleted. Only what is in here is ever wiped from the device keys.
CREATE TABLE deleted (
    instance_id integer PRIMARY KEY CHECK (instance_id > 0),
    deleted_at  bigint NOT NULL,
    wiped_at    bigint                                   -- NULL: keys may be left
);
CREATE INDEX deleted_unwiped ON deleted (instance_id) WHERE wiped_at IS NULL;

-- `edge`: which WhatsApp the pairings belong to. `token_key_check`: a text sealed with the token key.
CREATE TABLE meta (
    key   text PRIMARY KEY,
    value bytea NOT NULL
);

-- One row. Who writes to the registry counts it up first, and so keeps the others waiting until the commit: versions
-- become visible in the order in which they were given, which those of a sequence do not. The highest numbers that
-- were ever given are here too, since none is given again.
CREATE TABLE registry (
    version       bigint  NOT NULL,
    last_account  bigint  NOT NULL,
    last_instance integer NOT NULL
) WITH (fillfactor = 10);
INSERT INTO registry VALUES (0, 0, 0);

-- Which records changed with which version, so that the other nodes read these instead of everything. `NULL, NULL` is
-- the edge or the last number that was given.
CREATE TABLE change (
    version     bigint NOT NULL,
    account_id  bigint,
    instance_id integer
);
CREATE INDEX change_version ON change (version);

CREATE FUNCTION unix_millis() RETURNS bigint LANGUAGE sql
AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint';

CREATE FUNCTION tell_of_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change (version, account_id) SELECT version, coalesce(NEW.id, OLD.id) FROM registry;
    RETURN NULL;
END $$;
CREATE TRIGGER account_changed AFTER INSERT OR UPDATE OR DELETE ON account
FOR EACH ROW EXECUTE FUNCTION tell_of_account();

CREATE FUNCTION tell_of_instance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO change (version, instance_id) SELECT version, coalesce(NEW.id, OLD.id) FROM registry;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO deleted (instance_id, deleted_at) VALUES (OLD.id, unix_millis())
        ON CONFLICT (instance_id) DO UPDATE SET wiped_at = NULL;
    END IF;
    RETURN NULL;
END $$;
-- `last_used` is no change that anybody waits for.
CREATE TRIGGER instance_changed
AFTER INSERT OR DELETE OR UPDATE OF name, token_hash, sealed_token, keep_online, logged_out, banned_until,
                                    pairing_number, sealed_proxy
ON instance FOR EACH ROW EXECUTE FUNCTION tell_of_instance();

-- Of an update that took the place of an insertion, nothing is in `made`.
CREATE FUNCTION number_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE registry SET last_account = (SELECT max(id) FROM made)
    WHERE last_account < (SELECT max(id) FROM made);
    RETURN NULL;
END $$;
CREATE TRIGGER account_numbered AFTER INSERT ON account
REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION number_account();

CREATE FUNCTION number_instance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE registry SET last_instance = (SELECT max(id) FROM made)
    WHERE last_instance < (SELECT max(id) FROM made);
    RETURN NULL;
END $$;
CREATE TRIGGER instance_numbered AFTER INSERT ON instance
REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION number_instance();

CREATE FUNCTION tell_of_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Who is further behind reads everything.
    DELETE FROM change WHERE version <= NEW.version - 1000;
    NOTIFY presence_registry;
    RETURN NULL;
END $$;
CREATE TRIGGER version_changed AFTER UPDATE OF version ON registry
FOR EACH ROW EXECUTE FUNCTION tell_of_version();
