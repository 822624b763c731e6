-- The keys of all devices. Values are sealed, and so is nothing else: whose keys they are, of which kind and of
-- which peer can be read by whoever has the file.

CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Every device that has keys. The row goes last, so that a wipe that was cut off is seen to be unfinished.
CREATE TABLE device (
    id    INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647),
    epoch INTEGER NOT NULL                       -- of the owner that wrote last; an older one writes no more
) STRICT;

CREATE TABLE key (
    device     INTEGER NOT NULL REFERENCES device (id),
    kind       INTEGER NOT NULL,
    name       BLOB    NOT NULL,
    value      BLOB    NOT NULL,
    written_at INTEGER NOT NULL,                 -- Unix seconds
    PRIMARY KEY (device, kind, name)
) STRICT, WITHOUT ROWID;

-- How often a pairing of an instance ended that it was logged out, counted along with presence.db: where it is
-- higher here, the keys are of a later pairing. The row stays when the keys are wiped.
CREATE TABLE pairing (
    instance INTEGER PRIMARY KEY CHECK (instance BETWEEN 1 AND 2147483647),
    number   INTEGER NOT NULL
) STRICT;
