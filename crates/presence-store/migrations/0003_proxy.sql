-- The proxy of an instance, sealed as a whole with the token key: host and username say nearly as much of its owner
-- as the password does. NULL: it has none.

ALTER TABLE instance ADD COLUMN sealed_proxy BLOB;

DROP TRIGGER instance_changed;
CREATE TRIGGER instance_changed
AFTER UPDATE OF name, token_hash, sealed_token, keep_online, logged_out, banned_until, pairing_number, sealed_proxy
ON instance BEGIN
    INSERT INTO change (instance_id) VALUES (NEW.id);
END;
