-- Messages that a person made of others by editing them (`labrelay dlq edit`): both ways from one to the other. The new
-- message's own row names the original, too, under the hash chain.
CREATE TABLE edited (
    message_id INTEGER PRIMARY KEY,         -- journal.id of the edited bytes
    original   INTEGER NOT NULL,            -- journal.id of the bytes as they were received
    act        INTEGER NOT NULL             -- journal.id of the audit row: who, why, hashes of both
);
CREATE UNIQUE INDEX edited_original ON edited (original);
