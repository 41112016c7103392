-- Numbers that are gone because retention let them go: engine/retention.py. A range counts only where the row that it
-- names, of kind 4 in the journal, vouches for it.
CREATE TABLE pruned (
    what   TEXT NOT NULL,                   -- 'journal', 'document', or 'lane N': whose numbers
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    chain  BLOB NOT NULL,                   -- of the journal: the chain value of row `last`; else empty
    record INTEGER NOT NULL,                -- journal.id
    PRIMARY KEY (what, first)
) WITHOUT ROWID;
CREATE INDEX pruned_record ON pruned (record);
