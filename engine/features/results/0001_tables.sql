-- What the rules of routes that hold results back may ask: earlier values of a patient, the analyzer's last controls.
CREATE TABLE earlier_value (
    id         INTEGER PRIMARY KEY,
    key        BLOB NOT NULL,               -- 16-byte keyed hash: patient, code, unit; empty: it only takes one's place
    run        BLOB NOT NULL,               -- 16-byte keyed hash: the result; a correction takes its place
    message_id INTEGER NOT NULL,
    waits      INTEGER NOT NULL,            -- for the release of the message's document with this ordinal; 0: it counts
    at_us      INTEGER NOT NULL,            -- when it was measured
    kept_us    INTEGER NOT NULL,            -- when it was noted here
    value      BLOB NOT NULL                -- sealed: the decimal as it was written
);
CREATE UNIQUE INDEX earlier_value_run ON earlier_value (key, run, message_id, waits);
CREATE INDEX earlier_value_message ON earlier_value (message_id);
CREATE INDEX earlier_value_at ON earlier_value (key, at_us);
-- A correction or a withdrawal takes away the earlier value whatever code and unit it had.
CREATE INDEX earlier_value_of_run ON earlier_value (run);

CREATE TABLE control_result (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    code     TEXT NOT NULL,                 -- of the test, as the analyzer writes it
    material BLOB NOT NULL,                 -- 16-byte keyed hash of the control's specimen number
    at_us    INTEGER NOT NULL,              -- when it was received
    failed   INTEGER NOT NULL
);
CREATE UNIQUE INDEX control_result_material ON control_result (channel, code, material);

-- Who bears which patient number (store/operations/number_bearers.py).
CREATE TABLE bearer (
    number     BLOB NOT NULL,               -- keyed hash of a number that lasts, or of a counter's order and day
    whole      BLOB NOT NULL,               -- keyed hash of a record of the person
    standing   INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    others     INTEGER NOT NULL,            -- 1: another message has it, too
    until_us   INTEGER NOT NULL,            -- 0: for good
    noted_us   INTEGER NOT NULL,            -- when it was written or changed
    record     BLOB NOT NULL,               -- sealed: parts of the name, birth date and sex; empty where it is compared
                                            -- with no other, or was erased
    person     INTEGER NOT NULL,            -- 1, or one whom a person told apart from the first
    PRIMARY KEY (number, whole)
) WITHOUT ROWID;
-- Persons of their own under a number that another one bore first: few, and read at each start.
CREATE INDEX bearer_other ON bearer (person) WHERE person > 1;
-- What is erased or rejected.
CREATE INDEX bearer_message ON bearer (message_id);
-- What seems to be the same person waits for a person to look.
CREATE INDEX bearer_seems ON bearer (standing) WHERE standing = 2;

-- Messages that are held until a person has said whether the record is of the same person as `person`, or of another.
CREATE TABLE bearer_asked (
    number     BLOB NOT NULL,
    whole      BLOB NOT NULL,
    message_id INTEGER NOT NULL,
    until_us   INTEGER NOT NULL,
    record     BLOB NOT NULL,
    person     INTEGER NOT NULL,
    order_accepted INTEGER NOT NULL,        -- a person has accepted that another patient has the same order number
    PRIMARY KEY (number, whole, message_id)
) WITHOUT ROWID;

-- Which order and specimen numbers of a site that calls them unique are in use (store/operations/used_numbers.py). Kept
-- for good: a number that was forgotten would be free.
CREATE TABLE used_number (
    number     BLOB NOT NULL,               -- key of their reports, a keyed hash
    message_id INTEGER NOT NULL,
    first_day  INTEGER NOT NULL,            -- as in date.toordinal
    last_day   INTEGER NOT NULL,
    use        INTEGER NOT NULL,            -- 0, or what sets apart the ids of a number that was given again: the
                                            -- message that was first to use it so
    waits      INTEGER NOT NULL,            -- 1: a person has not said yet whether it is another specimen's
    noted_us   INTEGER NOT NULL,            -- when it was written or changed
    PRIMARY KEY (number, message_id)
) WITHOUT ROWID;
-- What is released or rejected.
CREATE INDEX used_number_waits ON used_number (message_id) WHERE waits = 1;

-- What messages say of results (`engine.model.content.facts`), one row for each that has any.
CREATE TABLE fact (
    message_id INTEGER PRIMARY KEY,
    reader     TEXT NOT NULL,               -- of what has read it: name and hash
    numbers    BLOB NOT NULL,               -- as in fact_number, one after the other
    tests      BLOB NOT NULL,               -- 2 bytes of the keyed hash of each test; empty: it tells of others, too
    content    BLOB NOT NULL                -- sealed: the facts, and what was decided of them
);
-- The messages with an order. No index has the message alone, for that would be a page of the log for each.
CREATE TABLE fact_number (
    number     BLOB NOT NULL,               -- 8-byte keyed hash of a number of the order, 3 bytes of its day
    message_id INTEGER NOT NULL,
    PRIMARY KEY (number, message_id)
) WITHOUT ROWID;
