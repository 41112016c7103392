-- Who bears which patient number (engine/bearers.py). number: keyed hash of a number that lasts, or of a counter's order and
-- day; whole: keyed hash of a record of the person. others: another message has it, too. until_us 0: for good.
-- noted_us: when it was written or changed. person: 1, or one whom a person told apart from the first.
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
    person INTEGER NOT NULL,
    PRIMARY KEY (number, whole)
) WITHOUT ROWID;

-- Messages that are held until a person has said whether the record is of the same person as `person`, or of another one.
CREATE TABLE bearer_asked (
    number BLOB NOT NULL,
    whole BLOB NOT NULL,
    message_id INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    record BLOB NOT NULL,
    person INTEGER NOT NULL,
    PRIMARY KEY (number, whole, message_id)
) WITHOUT ROWID;

-- Persons of their own under a number that another one bore first: few, and read at each start.
CREATE INDEX bearer_other ON bearer (person) WHERE person > 1;

-- What is erased or rejected.
CREATE INDEX bearer_message ON bearer (message_id);

-- What seems to be the same person waits for a person to look.
CREATE INDEX bearer_seems ON bearer (standing) WHERE standing = 2;

-- Rows of patients' numbers stood among those of reports.
DELETE FROM report WHERE key = patient;
