-- Keyed hashes of the numbers that messages are looked for by (patient, specimen or order, the message's own), with the
-- verdict on a message. Cut into blocks of neighbouring messages, so that what is written together lies together.
-- Messages that had their verdict before this table came are not in it: from `meta.numbers_from` on all are.
CREATE TABLE message_number (
    block      INTEGER NOT NULL,            -- message_id >> 10
    token      BLOB NOT NULL,               -- 8 bytes: engine/vault.py, search_token
    message_id INTEGER NOT NULL,
    PRIMARY KEY (block, token, message_id)
) WITHOUT ROWID;
INSERT INTO meta (name, value) SELECT 'numbers_from', coalesce(max(id), 0) + 1 FROM message_state;
