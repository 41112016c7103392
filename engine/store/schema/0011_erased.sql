-- Rows whose content was erased on a patient's demand: engine/erasing.py. Such a row has an empty content and the hash of
-- the old one; it counts as erased only where the row that it names, of kind 5 in the journal, vouches for it.
CREATE TABLE erased (
    what   TEXT NOT NULL,                   -- 'journal' or 'document'
    number INTEGER NOT NULL,                -- the row's
    record INTEGER NOT NULL,                -- journal.id of the row that vouches for it
    act    INTEGER NOT NULL,                -- journal.id of the row that says who, when and why
    PRIMARY KEY (what, number)
) WITHOUT ROWID;
CREATE INDEX erased_record ON erased (record);
