-- When a channel or a destination did not work, and when LabRelay itself did not run (store/operations/downtime.py).
CREATE TABLE downtime (
    id       INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,                 -- channel, destination, labrelay
    name     TEXT NOT NULL,                 -- '' of LabRelay itself
    state    TEXT NOT NULL,                 -- as monitoring/snapshot/states.py names it; 'running' and 'not_running'
    since_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL,              -- its end; of an open one when it was looked at last
    is_open  INTEGER NOT NULL
);
CREATE INDEX downtime_open ON downtime (id) WHERE is_open = 1;
CREATE INDEX downtime_until ON downtime (until_us);

-- Results of each day by analyzer and test, and their turnaround times (store/operations/result_counts.py). They stay
-- when retention deletes the messages, and name no patient.
CREATE TABLE result_day (
    day        TEXT NOT NULL,               -- on which the message was received: '2026-03-01' in the site's zone
    channel    TEXT NOT NULL,
    code       TEXT NOT NULL,               -- of the test, as the analyzer writes it; '': all codes that no table had
    changed_us INTEGER NOT NULL,
    counts     TEXT NOT NULL,               -- JSON: model/turnaround.py
    PRIMARY KEY (day, channel, code)
) WITHOUT ROWID;

-- Up to which message results were counted; one row.
CREATE TABLE result_position (
    id         INTEGER PRIMARY KEY,         -- 1
    counted_to INTEGER NOT NULL             -- journal.id
);

-- Messages below that whose results are still to be counted, or still to be delivered.
CREATE TABLE result_pending (
    message_id INTEGER PRIMARY KEY,
    waits      TEXT NOT NULL                -- JSON of results that wait for their delivery; '': none is counted yet; '-': all
);

-- Of which tests of a specimen a final result was counted: a short memory.
CREATE TABLE result_seen (
    token      BLOB PRIMARY KEY,            -- 8-byte keyed hash of channel, patient and specimen
    message_id INTEGER NOT NULL,            -- the first
    until_us   INTEGER NOT NULL,
    tests      TEXT NOT NULL                -- JSON: short keyed hashes
) WITHOUT ROWID;
