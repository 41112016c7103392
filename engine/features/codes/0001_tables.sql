-- Rows of code tables that people wrote in place of those in files (store/operations/corrections.py): added, and never
-- changed. The newest of a key decides.
CREATE TABLE correction (
    version INTEGER PRIMARY KEY,            -- 1, 2, 3 ...
    act     INTEGER NOT NULL,               -- journal.id of its row in the audit trail
    at_us   INTEGER NOT NULL,
    text    BLOB NOT NULL                   -- sealed: channel, table, key, cells, who and why
);
