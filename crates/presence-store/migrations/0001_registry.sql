-- Accounts and their instances. Times are Unix milliseconds.
-- AUTOINCREMENT: an id is never given again. An instance's id numbers its device keys, so keys that a
-- crash left behind can never become those of a newer instance.

CREATE TABLE account (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    token_hash BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    quota      INTEGER CHECK (quota >= 0),              -- NULL: no limit
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE instance (
    id           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 2147483647),
    account_id   INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    token_hash   BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    sealed_token BLOB    NOT NULL,
    keep_online  INTEGER NOT NULL CHECK (keep_online IN (0, 1)),
    logged_out   INTEGER NOT NULL CHECK (logged_out IN (0, 1)),
    created_at   INTEGER NOT NULL,
    UNIQUE (account_id, name)
) STRICT;

-- `edge`: which WhatsApp the pairings belong to. `token_key_check`: a text sealed with the token key.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
