-- The journal of one site: everything that came in and everything that was done about it.
-- Instants are microseconds since 1970 (UTC), in columns named *_us. Sealed columns are BLOBs in the format of
-- engine/vault.py; what stands in clear (types, sizes, times, states, codes) identifies no patient.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value NOT NULL
) WITHOUT ROWID;

CREATE TABLE data_key (
    id         INTEGER PRIMARY KEY,
    class      TEXT NOT NULL,
    month      TEXT NOT NULL,               -- '2026-03'; '' for the keys that never rotate
    wrapped    BLOB NOT NULL,
    created_us INTEGER NOT NULL,
    UNIQUE (class, month)
);

-- One gapless numbering and one hash chain for all that is durable. Rows are never changed.
-- kind: 1 message, 2 ASTM frame, 3 act (audit). The small columns come before the body, so that a list of messages
-- does not read bodies.
CREATE TABLE journal (
    id           INTEGER PRIMARY KEY,
    kind         INTEGER NOT NULL,
    channel      TEXT NOT NULL,             -- '' for acts
    seq          INTEGER NOT NULL,          -- number within the channel, from 1 without gaps; 0 except for messages
    received_us  INTEGER NOT NULL,
    session      INTEGER NOT NULL,          -- link session that frames (and the messages made of them) came in; 0 none
    message_type TEXT NOT NULL,
    size         INTEGER NOT NULL,          -- bytes of the payload
    token        BLOB NOT NULL,             -- keyed hash: 12 bytes of the control id, 12 of the payload
    hash         BLOB NOT NULL,             -- engine/chain.py
    chain        BLOB NOT NULL,
    meta         BLOB NOT NULL,             -- sealed: peer, control id, notes, ...
    body         BLOB NOT NULL              -- sealed: the bytes as received
);
CREATE UNIQUE INDEX journal_message ON journal (channel, seq) WHERE kind = 1;
CREATE INDEX journal_act ON journal (id) WHERE kind = 3;

-- Rows whose loss a person has accepted: numbers that stay unused.
CREATE TABLE gap (
    first_id INTEGER PRIMARY KEY,
    last_id  INTEGER NOT NULL,
    act      INTEGER NOT NULL
);

-- Where a message is. No row: 'stored', that is, still to be processed.
CREATE TABLE message_state (
    id      INTEGER PRIMARY KEY,            -- journal.id
    state   TEXT NOT NULL,                  -- mapped, filtered, dead, incomplete, dismissed
    reason  TEXT NOT NULL,
    at_us   INTEGER NOT NULL,
    mapping TEXT NOT NULL,
    detail  BLOB NOT NULL                   -- sealed, or empty
);
CREATE INDEX message_dead ON message_state (id) WHERE state IN ('dead', 'incomplete');

CREATE TABLE document (
    id          INTEGER PRIMARY KEY,
    message_id  INTEGER NOT NULL,
    revision    INTEGER NOT NULL,           -- 1; one more each time the message is processed again
    ordinal     INTEGER NOT NULL,           -- from 1 within the revision
    media_type  TEXT NOT NULL,
    hash        BLOB NOT NULL,
    conditional BLOB NOT NULL,              -- 16-byte keyed hashes, one after the other
    reports     BLOB NOT NULL,              -- 48 bytes each: report key, patient, person (zeros: none)
    body        BLOB NOT NULL               -- sealed
);
CREATE INDEX document_message ON document (message_id);

-- One row per channel: numbering, and gauges kept in the transaction that changes them.
CREATE TABLE channel (
    name       TEXT PRIMARY KEY,
    last_seq   INTEGER NOT NULL,
    last_us    INTEGER NOT NULL,            -- newest message
    stored     INTEGER NOT NULL,            -- messages still to be processed
    dead       INTEGER NOT NULL,
    incomplete INTEGER NOT NULL
) WITHOUT ROWID;

-- One row per channel and destination: the unit of order.
CREATE TABLE lane (
    id           INTEGER PRIMARY KEY,
    channel      TEXT NOT NULL,
    destination  TEXT NOT NULL,
    last_seq     INTEGER NOT NULL,
    open         INTEGER NOT NULL,          -- waiting and sending
    dead         INTEGER NOT NULL,
    held         INTEGER NOT NULL,
    delivered_us INTEGER NOT NULL,          -- last success
    paused       INTEGER NOT NULL,          -- 1: a person has paused it
    held_by      INTEGER NOT NULL,          -- the dead delivery that holds the lane (`on_dead: hold`), or 0
    UNIQUE (channel, destination)
);

CREATE TABLE delivery (
    id            INTEGER PRIMARY KEY,
    lane          INTEGER NOT NULL,
    seq           INTEGER NOT NULL,         -- number within the lane, from 1 without gaps
    message_id    INTEGER NOT NULL,
    document_id   INTEGER NOT NULL,
    key           BLOB NOT NULL,
    state         TEXT NOT NULL,            -- waiting, sending, delivered, dead, held, dismissed, superseded
    lease         INTEGER NOT NULL,         -- boot number of the process that has it; 0 nobody
    attempt       INTEGER NOT NULL,
    not_before_us INTEGER NOT NULL,
    cause         TEXT NOT NULL,
    flags         INTEGER NOT NULL,         -- 1 maybe delivered, 2 manual
    settled_us    INTEGER NOT NULL,         -- when it was delivered, died or was dismissed; 0 open
    detail        BLOB NOT NULL             -- sealed, or empty
);
CREATE UNIQUE INDEX delivery_lane ON delivery (lane, seq);
CREATE INDEX delivery_message ON delivery (message_id);
CREATE INDEX delivery_waiting ON delivery (lane, seq) WHERE state = 'waiting';
CREATE INDEX delivery_sending ON delivery (lane, seq) WHERE state = 'sending';
CREATE INDEX delivery_stuck ON delivery (message_id, id) WHERE state IN ('dead', 'held');

-- Failed attempts only.
CREATE TABLE attempt (
    delivery INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    at_us    INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    detail   BLOB NOT NULL,                 -- sealed: what happened, and the destination's own words
    PRIMARY KEY (delivery, n)
) WITHOUT ROWID;

-- Short memories under keyed hashes; swept in small steps, so no index on their times.
CREATE TABLE repeat (
    token      BLOB PRIMARY KEY,            -- as journal.token
    message_id INTEGER NOT NULL,            -- the first with these bytes
    until_us   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE report (
    key        BLOB NOT NULL,               -- 16 bytes: channel, order or specimen number, day
    message_id INTEGER NOT NULL,
    patient    BLOB NOT NULL,               -- 16 bytes, or empty
    person     BLOB NOT NULL,               -- 8 bytes of the family name, 8 of the birth date, or empty
    until_us   INTEGER NOT NULL,
    PRIMARY KEY (key, message_id)
) WITHOUT ROWID;

CREATE TABLE counter (
    day         TEXT NOT NULL,              -- '2026-03-01' in the site's zone
    channel     TEXT NOT NULL,
    destination TEXT NOT NULL,              -- '' for counts of the channel itself
    name        TEXT NOT NULL,
    n           INTEGER NOT NULL,
    PRIMARY KEY (day, channel, destination, name)
) WITHOUT ROWID;

-- Codes that no code table had; `labrelay gaps` prints them.
CREATE TABLE unmapped (
    channel    TEXT NOT NULL,
    table_name TEXT NOT NULL,
    code       TEXT NOT NULL,
    unit       TEXT NOT NULL,
    display    TEXT NOT NULL,
    n          INTEGER NOT NULL,
    first_us   INTEGER NOT NULL,
    last_us    INTEGER NOT NULL,
    PRIMARY KEY (channel, table_name, code, unit)
) WITHOUT ROWID;

-- Acts that were begun and not yet finished; each is an audit row in the journal.
CREATE TABLE open_act (
    id INTEGER PRIMARY KEY
);
