-- Quality control. Points, runs and verdicts are added and never changed; a person's act is a row of its own. Control
-- materials are no patients: their numbers, lots and values are here as they were sent.
CREATE TABLE qc_lot (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,                 -- '': of every analyzer
    number   TEXT NOT NULL,                 -- of the control as the analyzer sends it; * for any text
    material TEXT NOT NULL,
    level    TEXT NOT NULL,
    lot      TEXT NOT NULL,
    expires  TEXT NOT NULL,                 -- '2027-06-30', or ''
    from_us  INTEGER NOT NULL,
    until_us INTEGER NOT NULL,              -- 0: in use
    act      INTEGER NOT NULL,              -- journal.id: who, when, why
    closed   INTEGER NOT NULL               -- the same, of its end; 0: it has none
);

CREATE TABLE qc_target (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    module   TEXT NOT NULL,                 -- '': of each module
    test     TEXT NOT NULL,                 -- as the analyzer sends it
    level    TEXT NOT NULL,
    lot      TEXT NOT NULL,
    unit     TEXT NOT NULL,
    mean     TEXT NOT NULL,                 -- decimals as they were written
    sd       TEXT NOT NULL,
    source   TEXT NOT NULL,                 -- maker, interim, lab, peer
    state    TEXT NOT NULL,                 -- proposed, interim, in force, closed
    from_us  INTEGER NOT NULL,              -- 0: proposed
    until_us INTEGER NOT NULL,              -- 0: open
    act      INTEGER NOT NULL,              -- journal.id of the act that proposed it, put it in force, closed it
    accepted INTEGER NOT NULL,
    closed   INTEGER NOT NULL
);
CREATE INDEX qc_target_of ON qc_target (channel, test, level, lot);

CREATE TABLE qc_rules (
    version  INTEGER PRIMARY KEY,           -- the newest one for a test counts
    channel  TEXT NOT NULL,                 -- '': of every analyzer
    test     TEXT NOT NULL,                 -- '': of every test
    rules    TEXT NOT NULL,                 -- '1-3s 2-2s ...'
    warnings TEXT NOT NULL,
    r4s      TEXT NOT NULL,
    act      INTEGER NOT NULL
);

CREATE TABLE qc_stream (
    id      INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    module  TEXT NOT NULL,
    test    TEXT NOT NULL
);
CREATE UNIQUE INDEX qc_stream_of ON qc_stream (channel, test, module);

-- The codes by which results of patients are known as of a test that has controls with a target.
CREATE TABLE qc_code (
    channel TEXT NOT NULL,
    code    TEXT NOT NULL,
    test    TEXT NOT NULL,
    PRIMARY KEY (channel, code, test)
) WITHOUT ROWID;

CREATE TABLE qc_point (
    id          INTEGER PRIMARY KEY,
    stream      INTEGER NOT NULL,
    run         INTEGER NOT NULL,
    level       TEXT NOT NULL,
    lot         TEXT NOT NULL,
    number      TEXT NOT NULL,              -- of the control, as sent
    value       TEXT NOT NULL,              -- as sent
    unit        TEXT NOT NULL,
    measured_us INTEGER NOT NULL,
    received_us INTEGER NOT NULL,
    timed       INTEGER NOT NULL,           -- 0: the message says no time, and measured_us is when it came
    failed      INTEGER,                    -- by the analyzer's own flag or range; NULL: it sent neither
    mark        TEXT NOT NULL,              -- what shows that it is a control's
    target      INTEGER NOT NULL,           -- qc_target.id that it was judged with; 0: none
    why         TEXT NOT NULL,              -- why it could not be evaluated; '': it was
    rejects     INTEGER NOT NULL,           -- 1: it rejects its run for that, for its test had a target
    message_id  INTEGER NOT NULL,           -- 0: a person has entered it (act)
    place       INTEGER NOT NULL,           -- of the result in its message
    act         INTEGER NOT NULL
);
CREATE INDEX qc_point_order ON qc_point (stream, measured_us, id);
CREATE INDEX qc_point_run ON qc_point (run);
CREATE INDEX qc_point_message ON qc_point (message_id, place);
CREATE INDEX qc_point_level ON qc_point (stream, level, lot, measured_us);

-- Levels and lots of a stream, since their first point that was evaluated.
CREATE TABLE qc_level (
    stream   INTEGER NOT NULL,
    level    TEXT NOT NULL,
    lot      TEXT NOT NULL,
    first_us INTEGER NOT NULL,
    PRIMARY KEY (stream, level, lot)
) WITHOUT ROWID;

CREATE TABLE qc_run (
    id       INTEGER PRIMARY KEY,
    stream   INTEGER NOT NULL,
    first_us INTEGER NOT NULL
);
CREATE INDEX qc_run_order ON qc_run (stream, first_us);

CREATE TABLE qc_verdict (
    run     INTEGER NOT NULL,
    version INTEGER NOT NULL,               -- from 1; each change is a row of its own
    at_us   INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    fired   TEXT NOT NULL,                  -- JSON: [[point, rule, scope, [points]], ...]
    rules   INTEGER NOT NULL,               -- qc_rules.version; 0: those that LabRelay brings
    why     TEXT NOT NULL,                  -- what made it: first, more points, a late point, excluded, taken back
    act     INTEGER NOT NULL,               -- of the person who did; 0: none
    PRIMARY KEY (run, version)
) WITHOUT ROWID;

CREATE TABLE qc_excluded (
    id      INTEGER PRIMARY KEY,
    point   INTEGER NOT NULL,
    code    TEXT NOT NULL,
    act     INTEGER NOT NULL,
    back    INTEGER NOT NULL                -- the act that took it back; 0: it is excluded
);
CREATE INDEX qc_excluded_point ON qc_excluded (point);

CREATE TABLE qc_event (
    id      INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    test    TEXT NOT NULL,                  -- '': of every test
    at_us   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    resets  INTEGER NOT NULL,               -- the counts of rules begin anew
    job     TEXT NOT NULL,                  -- of maintenance, by its name in the channel's file; '': none of these
    due     INTEGER NOT NULL,               -- 1: controls are due after it
    act     INTEGER NOT NULL
);
CREATE INDEX qc_event_of ON qc_event (channel, at_us);

-- A test whose control failed: its results wait until a person has closed the failed run.
CREATE TABLE qc_closed (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    test     TEXT NOT NULL,
    run      INTEGER NOT NULL,
    since_us INTEGER NOT NULL,              -- of the last accepted run; 0: there was none
    from_us  INTEGER NOT NULL,              -- since when results wait
    repeat   INTEGER NOT NULL,              -- an accepted run after it; 0: none yet
    until_us INTEGER NOT NULL,              -- 0: results wait
    act      INTEGER NOT NULL               -- of the person who closed the run; 0: it came after its repeat
);
CREATE INDEX qc_closed_of ON qc_closed (channel, test);
CREATE INDEX qc_closed_open ON qc_closed (channel, test) WHERE until_us = 0;

-- Messages with a patient's result of a test, since its last accepted control.
CREATE TABLE qc_bracket (
    message_id INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    test       TEXT NOT NULL,
    at_us      INTEGER NOT NULL,            -- when it came, or was measured, where that is later
    measured_us INTEGER NOT NULL,
    waits      INTEGER NOT NULL,            -- 1: it waits for a failed control, and a person has not released it
    PRIMARY KEY (message_id, test)
) WITHOUT ROWID;
CREATE INDEX qc_bracket_of ON qc_bracket (channel, test, at_us);

-- Those of them that a person is to look at, for the control after them failed.
CREATE TABLE qc_look (
    closed     INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    act        INTEGER NOT NULL,            -- of the person who looked; 0: not yet
    PRIMARY KEY (closed, message_id)
) WITHOUT ROWID;
CREATE INDEX qc_look_message ON qc_look (message_id);
