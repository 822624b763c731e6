-- The keys of all devices, as in keys.db. Values are sealed, and nothing else is.

-- Every device that has keys.
CREATE TABLE device (
    id integer PRIMARY KEY CHECK (id > 0)
);

CREATE TABLE key (
    device     integer     NOT NULL REFERENCES device (id),
    kind       smallint    NOT NULL,
    name       bytea       NOT NULL,
    value      bytea       NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (device, kind, name)
) WITH (fillfactor = 80);
