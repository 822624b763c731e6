-- Where an account is told of its instances, sealed as a whole with the token key: a URL may hold a secret of its own.
-- NULL: nowhere.

ALTER TABLE account ADD COLUMN sealed_webhook BLOB;
