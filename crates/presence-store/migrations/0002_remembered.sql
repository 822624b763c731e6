-- What was deleted is remembered, bans and use outlive a restart, and every change is told row by row.

ALTER TABLE instance ADD COLUMN banned_until INTEGER;
ALTER TABLE instance ADD COLUMN last_used INTEGER;
ALTER TABLE instance ADD COLUMN pairing_number INTEGER NOT NULL DEFAULT 0 CHECK (pairing_number >= 0);

-- Instances that were deleted. Only what is in here is ever wiped from keys.db. The rows stay when it is
-- done: an older keys.db that is restored may bring the keys back.
CREATE TABLE deleted (
    instance_id INTEGER PRIMARY KEY CHECK (instance_id BETWEEN 1 AND 2147483647),
    deleted_at  INTEGER NOT NULL,
    wiped_at    INTEGER                                  -- NULL: keys may be left
) STRICT;
CREATE INDEX deleted_unwiped ON deleted (instance_id) WHERE wiped_at IS NULL;

-- Numbers are given in sequence, so each up to the last that was given and is gone now was deleted here.
INSERT INTO deleted (instance_id, deleted_at)
WITH RECURSIVE given (id) AS (
    SELECT 1 WHERE EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'instance' AND seq >= 1)
    UNION ALL
    SELECT id + 1 FROM given WHERE id < (SELECT seq FROM sqlite_sequence WHERE name = 'instance')
)
SELECT id, CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM given
WHERE id NOT IN (SELECT id FROM instance);

-- Which records changed last, in order, so that other processes read these instead of everything. `NULL, NULL`
-- is the edge or the last number that was given. AUTOINCREMENT: whoever has seen a number has seen all below it.
CREATE TABLE change (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id  INTEGER,
    instance_id INTEGER
) STRICT;

-- Triggers, so that both tables are true whoever writes, in the writer's own transaction. Rows that go with
-- their account are deleted one by one as well. `last_used` is no change that anybody waits for.
CREATE TRIGGER account_created AFTER INSERT ON account BEGIN
    INSERT INTO change (account_id) VALUES (NEW.id);
END;
CREATE TRIGGER account_changed AFTER UPDATE ON account BEGIN
    INSERT INTO change (account_id) VALUES (NEW.id);
END;
CREATE TRIGGER account_deleted AFTER DELETE ON account BEGIN
    INSERT INTO change (account_id) VALUES (OLD.id);
END;
CREATE TRIGGER instance_created AFTER INSERT ON instance BEGIN
    INSERT INTO change (instance_id) VALUES (NEW.id);
END;
CREATE TRIGGER instance_changed
AFTER UPDATE OF name, token_hash, sealed_token, keep_online, logged_out, banned_until, pairing_number
ON instance BEGIN
    INSERT INTO change (instance_id) VALUES (NEW.id);
END;
CREATE TRIGGER instance_deleted AFTER DELETE ON instance BEGIN
    INSERT INTO deleted (instance_id, deleted_at)
    VALUES (OLD.id, CAST(unixepoch('subsec') * 1000 AS INTEGER))
    ON CONFLICT (instance_id) DO UPDATE SET wiped_at = NULL;
    INSERT INTO change (instance_id) VALUES (OLD.id);
END;
CREATE TRIGGER edge_pinned AFTER INSERT ON meta WHEN NEW.key = 'edge' BEGIN
    INSERT INTO change (account_id, instance_id) VALUES (NULL, NULL);
END;
-- Who is further behind reads everything.
CREATE TRIGGER change_bounded AFTER INSERT ON change BEGIN
    DELETE FROM change WHERE seq <= NEW.seq - 1000;
END;
