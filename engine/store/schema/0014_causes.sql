-- What dead letters have in common, so that they are counted by their cause without being opened (engine/causes.py).
-- A keyed hash of the channel and the cause; NULL: not noted yet (rows from before this step, until they were swept).
-- Neither index holds a message that went well.

ALTER TABLE message_state ADD COLUMN cause_token BLOB;
ALTER TABLE delivery ADD COLUMN cause_token BLOB;
CREATE INDEX message_cause ON message_state (cause_token, reason, state, id, at_us)
    WHERE state IN ('dead', 'incomplete');
CREATE INDEX delivery_cause ON delivery (cause_token, cause, lane, message_id, settled_us) WHERE state = 'dead';
