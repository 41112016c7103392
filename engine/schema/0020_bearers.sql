-- Who bears which patient number (engine/bearers.py). number: keyed hash of a number that lasts, or of a counter's order and
-- day; whole: keyed hash of a record of the person. others: another message has it, too. until_us 0: for good.
-- noted_us: when it was written or changed.
-- record: sealed parts of the name, birth date and sex; empty where it is compared with no other, or was erased.

CREATE TABLE bearer (
    number BLOB NOT NULL,
    whole BLOB NOT NULL,
    standing INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    others INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    noted_us INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (number, whole)
) WITHOUT ROWID;

-- What seems to be the same person waits for somebody to look.
CREATE INDEX bearer_seems ON bearer (standing) WHERE standing = 2;

-- Rows of patients' numbers stood among those of reports.
DELETE FROM report WHERE key = patient;
