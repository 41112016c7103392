-- The journal of one site: everything that came in and everything that was done about it.
-- Instants are microseconds since 1970 (UTC), in columns named *_us. Sealed columns are BLOBs in the format of
-- engine/store/core/vault.py; all else is in clear (types, sizes, times, states, codes) and identifies no patient.
-- Keyed hashes are BLOBs, too: without the key they tell nothing.

-- == the journal itself ============================================================================================

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

-- One gapless numbering and one hash chain for all that is durable. Rows never change, but by an erasure.
-- kind: 1 message, 2 ASTM frame, 3 act (audit), 4 record of what retention deleted, 5 record of what was erased. The
-- small columns come before the body, so that a list of messages does not read bodies. The index on the messages of a
-- channel is cut into blocks of neighbouring rows (store/queries/listing.py): under one over all of them each channel
-- would have a page of its own, which each of its messages would write to the log.
CREATE TABLE journal (
    id           INTEGER PRIMARY KEY,
    kind         INTEGER NOT NULL,
    channel      TEXT NOT NULL,             -- '' for acts and records
    seq          INTEGER NOT NULL,          -- number within the channel, from 1 without gaps; 0 except for messages
    received_us  INTEGER NOT NULL,
    session      INTEGER NOT NULL,          -- link session that frames (and the messages made of them) came in; 0 none
    message_type TEXT NOT NULL,
    size         INTEGER NOT NULL,          -- bytes of the payload
    token        BLOB NOT NULL,             -- keyed hash: 12 bytes of the control id, 12 of the payload; the digests of
                                            -- a record
    hash         BLOB NOT NULL,             -- store/core/chain.py
    chain        BLOB NOT NULL,
    meta         BLOB NOT NULL,             -- sealed: peer, control id, notes, ...; empty except for messages
    body         BLOB NOT NULL              -- sealed: the bytes as received
);
CREATE INDEX journal_act ON journal (id) WHERE kind = 3;
CREATE INDEX journal_type ON journal (message_type, id) WHERE kind = 1;
CREATE UNIQUE INDEX journal_channel ON journal (id >> 10, channel, seq) WHERE kind = 1;

-- Rows whose loss a person has accepted: numbers that stay unused.
CREATE TABLE gap (
    first_id INTEGER PRIMARY KEY,
    last_id  INTEGER NOT NULL,
    act      INTEGER NOT NULL               -- journal.id
);

-- Numbers that are gone because retention let them go (store/lifecycle/retention.py). A range counts only where the row
-- that it names, of kind 4, vouches for it.
CREATE TABLE pruned (
    what   TEXT NOT NULL,                   -- 'journal', 'document', or 'lane N': whose numbers
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    chain  BLOB NOT NULL,                   -- of the journal: the chain value of row `last`; else empty
    record INTEGER NOT NULL,                -- journal.id
    PRIMARY KEY (what, first)
) WITHOUT ROWID;
CREATE INDEX pruned_record ON pruned (record);

-- Rows whose content was erased on a patient's demand (store/lifecycle/erasure.py). Such a row has an empty content and
-- the hash of the old one; it counts as erased only where the row that it names, of kind 5, vouches for it.
CREATE TABLE erased (
    what   TEXT NOT NULL,                   -- 'journal' or 'document'
    number INTEGER NOT NULL,                -- the row's
    record INTEGER NOT NULL,                -- journal.id of the row that vouches for it
    act    INTEGER NOT NULL,                -- journal.id of the row that says who, when and why
    PRIMARY KEY (what, number)
) WITHOUT ROWID;
CREATE INDEX erased_record ON erased (record);

-- Acts that were begun and not yet finished; each is an audit row in the journal.
CREATE TABLE open_act (
    id INTEGER PRIMARY KEY
);

-- == messages ======================================================================================================

-- Where a message is. No row: 'stored', that is, still to be processed. None of these indexes holds a message that went
-- well, so that they cost nothing where most are delivered.
CREATE TABLE message_state (
    id          INTEGER PRIMARY KEY,        -- journal.id
    state       TEXT NOT NULL,              -- mapped, filtered, dead, incomplete, dismissed
    reason      TEXT NOT NULL,
    at_us       INTEGER NOT NULL,
    mapping     TEXT NOT NULL,
    config      INTEGER NOT NULL DEFAULT 0, -- configuration of the mapping: the first 12 digits of its hash, as a number;
                                            -- 0: not known
    detail      BLOB NOT NULL,              -- sealed, or empty
    cause_token BLOB,                       -- keyed hash: store/operations/failure_fingerprint.py; NULL: not noted
    numbers     BLOB,                       -- 8-byte keyed hashes, one after the other: as in message_number; NULL: none
    results     BLOB                        -- codes and times of its results, keyed hashes of their specimens:
                                            -- store/operations/result_counts.py; NULL: none
);
CREATE INDEX message_dead ON message_state (id) WHERE state IN ('dead', 'incomplete');
CREATE INDEX message_reason ON message_state (reason, id) WHERE reason <> '';
CREATE INDEX message_ended ON message_state (state, id) WHERE state <> 'mapped';
CREATE INDEX message_cause ON message_state (cause_token, reason, state, id, at_us)
    WHERE state IN ('dead', 'incomplete');

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

-- The index of message_state.numbers: patient, specimen or order, the message's own number. Filled some hundred messages
-- at once (store/operations/search_index.py), and cut into blocks of neighbouring messages, so that what is written
-- together lies together.
CREATE TABLE message_number (
    block      INTEGER NOT NULL,            -- message_id >> 10
    token      BLOB NOT NULL,               -- 8-byte keyed hash: search_token in store/core/vault.py
    message_id INTEGER NOT NULL,
    PRIMARY KEY (block, token, message_id)
) WITHOUT ROWID;

-- Messages that a person made of others by editing them (`labrelay dlq edit`): both ways from one to the other. The new
-- message's own row names the original, too, under the hash chain.
CREATE TABLE edited (
    message_id INTEGER PRIMARY KEY,         -- journal.id of the edited bytes
    original   INTEGER NOT NULL,            -- journal.id of the bytes as they were received
    act        INTEGER NOT NULL             -- journal.id of the audit row: who, why, hashes of both
);
CREATE UNIQUE INDEX edited_original ON edited (original);

-- Incomplete messages, as far as their bytes are concerned: how much is kept of each, and how often it came
-- (store/operations/incomplete.py). Their content goes before that of all others, so none of them can fill the disk.
CREATE TABLE unfinished (
    message_id INTEGER PRIMARY KEY,         -- journal.id
    token      BLOB NOT NULL,               -- 16 bytes, keyed hash of channel, peer and content; empty: not looked for
    bytes      INTEGER NOT NULL,            -- kept of the message and its frames; 0 once that was let go
    times      INTEGER NOT NULL,            -- how often it came
    last_us    INTEGER NOT NULL,            -- when it came last
    first_row  INTEGER NOT NULL,            -- of the frames that it was made of; 0 without any
    last_row   INTEGER NOT NULL
);
CREATE INDEX unfinished_token ON unfinished (token) WHERE token <> x'';
CREATE INDEX unfinished_kept ON unfinished (message_id, bytes) WHERE bytes > 0;

-- == channels, lanes, deliveries ===================================================================================

-- One row per channel: numbering, gauges kept in the transaction that changes them, and what its messages were seen to
-- do (model/content/repeats.py): only where a control id or a time changes, the same bytes are a repeat.
CREATE TABLE channel (
    name         TEXT PRIMARY KEY,
    last_seq     INTEGER NOT NULL,
    last_us      INTEGER NOT NULL,          -- newest message
    stored       INTEGER NOT NULL,          -- messages still to be processed
    dead         INTEGER NOT NULL,
    incomplete   INTEGER NOT NULL,
    id_changes   INTEGER NOT NULL DEFAULT 0,
    id_faults    INTEGER NOT NULL DEFAULT 0,
    time_changes INTEGER NOT NULL DEFAULT 0,
    time_back_us INTEGER NOT NULL DEFAULT 0,
    last_message INTEGER NOT NULL DEFAULT 0,
    unanswered   TEXT NOT NULL DEFAULT ''   -- messages whose answer was not written, as '5-9,12'
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
    paused       INTEGER NOT NULL,          -- 1: a person has paused it; it then has a row in `pause`, too
    held_by      INTEGER NOT NULL,          -- the dead delivery that holds the lane (`on_dead: hold`), or 0
    UNIQUE (channel, destination)
);

-- What a person has paused: a channel's source (destination ''), a destination (channel ''), the lane of both, or all
-- deliveries (both ''). Kept until a person resumes it, over restarts and reloads. The act says who paused it, and why.
CREATE TABLE pause (
    channel     TEXT NOT NULL,
    destination TEXT NOT NULL,
    since_us    INTEGER NOT NULL,
    act         INTEGER NOT NULL,           -- journal.id
    PRIMARY KEY (channel, destination)
) WITHOUT ROWID;

-- The numbers in a lane are looked for among open deliveries only, which have indexes of their own: an index over all
-- of them would be one more page of the log for each delivery.
CREATE TABLE delivery (
    id            INTEGER PRIMARY KEY,
    lane          INTEGER NOT NULL,
    seq           INTEGER NOT NULL,         -- number within the lane, from 1 without gaps
    message_id    INTEGER NOT NULL,
    document_id   INTEGER NOT NULL,
    key           BLOB NOT NULL,
    state         TEXT NOT NULL,            -- waiting, sending, delivered, dead, held, rejected, dismissed, superseded
    lease         INTEGER NOT NULL,         -- boot number of the process that has it; 0 none
    attempt       INTEGER NOT NULL,
    not_before_us INTEGER NOT NULL,
    cause         TEXT NOT NULL,
    flags         INTEGER NOT NULL,         -- 1 maybe delivered, 2 manual, 4 released by a person, 8 its values are
                                            -- remembered once it is released
    settled_us    INTEGER NOT NULL,         -- when it was delivered, died or was dismissed; held: since when; 0 open
    detail        BLOB NOT NULL,            -- sealed, or empty
    cause_token   BLOB                      -- as that of message_state
);
CREATE INDEX delivery_message ON delivery (message_id);
CREATE INDEX delivery_waiting ON delivery (lane, seq) WHERE state = 'waiting';
CREATE INDEX delivery_sending ON delivery (lane, seq) WHERE state = 'sending';
CREATE INDEX delivery_stuck ON delivery (message_id, id) WHERE state IN ('dead', 'held');
CREATE INDEX delivery_held ON delivery (lane, settled_us) WHERE state = 'held';
CREATE INDEX delivery_rejected ON delivery (message_id) WHERE state = 'rejected';
CREATE INDEX delivery_cause ON delivery (cause_token, cause, lane, message_id, settled_us) WHERE state = 'dead';
-- Corrections and withdrawals that a person has set aside (actions/set_aside.py): alarms until each is done.
CREATE INDEX delivery_set_aside ON delivery (message_id) WHERE state = 'dead' AND cause = 'CORRECTION_SET_ASIDE';

-- Failed attempts only.
CREATE TABLE attempt (
    delivery INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    at_us    INTEGER NOT NULL,
    cause    TEXT NOT NULL,
    detail   BLOB NOT NULL,                 -- sealed: what happened, and the destination's own words
    PRIMARY KEY (delivery, n)
) WITHOUT ROWID;

-- Acts of people on many letters: what was selected when its count was shown, and what became of it. The act says who,
-- why, and by which filter. Those that have ended stay for people to look at, the newest of them.
CREATE TABLE operation (
    number     INTEGER PRIMARY KEY,         -- journal.id of the act that began it
    verb       TEXT NOT NULL,
    stage      TEXT NOT NULL,               -- running, ended, cancelled, failed
    last       INTEGER NOT NULL,            -- the journal's newest row when it was counted
    counted_us INTEGER NOT NULL,            -- when that was
    total      INTEGER NOT NULL,            -- members
    outcomes   TEXT NOT NULL,               -- JSON: outcome -> members; they are dealt with in their order
    ended_us   INTEGER NOT NULL,            -- 0: it has not
    fault      TEXT NOT NULL,               -- the part of it that was damaged or lost; or ''
    channels   TEXT NOT NULL                -- JSON: all that the person sees who began it; '': the whole site
);
CREATE INDEX operation_running ON operation (number) WHERE stage = 'running';

-- Its members that are not dealt with yet.
CREATE TABLE operation_part (
    operation INTEGER NOT NULL,
    position  INTEGER NOT NULL,             -- of its first member in the operation, from 0
    members   BLOB NOT NULL,                -- of each: message_id, delivery_id (0: the message), 8 bytes little-endian;
                                            -- then a digest of them with operation and position, 16 bytes
    PRIMARY KEY (operation, position)
) WITHOUT ROWID;

-- Letters that a person has tried again, and deliveries that a replay has queued, that are not delivered yet.
CREATE TABLE retried (
    message_id  INTEGER NOT NULL,
    delivery_id INTEGER NOT NULL,           -- 0: the message
    n           INTEGER NOT NULL,           -- how often it was tried again; 0: only sent again
    operation   INTEGER NOT NULL,           -- the last that did
    at_us       INTEGER NOT NULL,           -- when that was
    reason      TEXT NOT NULL,              -- of the letter then; empty with 0
    PRIMARY KEY (message_id, delivery_id)
) WITHOUT ROWID;
CREATE INDEX retried_operation ON retried (operation);

-- What happened, for other programs, where no row of the journal tells it (store/core/event_notes.py): the newest of them.
-- Numbers rise by one; the first is the time when this table was begun.
CREATE TABLE event (
    id    INTEGER PRIMARY KEY,
    row   INTEGER NOT NULL,                 -- journal.id of the newest row then
    at_us INTEGER NOT NULL,
    type  TEXT NOT NULL,                    -- model/events.py
    data  TEXT NOT NULL                     -- JSON: numbers, names, codes
);

-- == short memories ================================================================================================
-- Under keyed hashes; swept in small steps, so there is no index on their times.

CREATE TABLE repeat (
    token      BLOB PRIMARY KEY,            -- as journal.token
    message_id INTEGER NOT NULL,            -- the first with these bytes
    until_us   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE report (
    key        BLOB NOT NULL,               -- 12 bytes of channel and order or specimen number, 4 of the day
    message_id INTEGER NOT NULL,
    patient    BLOB NOT NULL,               -- 16 bytes, or empty
    person     BLOB NOT NULL,               -- 8 bytes of the family name, 8 of the birth date, or empty
    until_us   INTEGER NOT NULL,
    PRIMARY KEY (key, message_id)
) WITHOUT ROWID;

-- The version that a FHIR server gave our resources when we wrote them last, for destinations with `conflicts: check`.
CREATE TABLE server_version (
    resource BLOB PRIMARY KEY,              -- 16-byte keyed hash: destination, type and id
    version  TEXT NOT NULL,
    until_us INTEGER NOT NULL
) WITHOUT ROWID;

-- The newest version that was taken of each resource that a channel polls. Written with the message that it became.
CREATE TABLE polled (
    resource   BLOB PRIMARY KEY,            -- 16-byte keyed hash: channel, type and id
    version    BLOB NOT NULL,               -- 16-byte keyed hash
    updated_us INTEGER NOT NULL,            -- its time at the server; 0 without one
    number     INTEGER NOT NULL,            -- of the version, where the server counts; else 0
    until_us   INTEGER NOT NULL             -- 0: for good
) WITHOUT ROWID;

-- How far a channel has read the server that it polls; times are the server's.
CREATE TABLE poll_cursor (
    channel    TEXT PRIMARY KEY,
    begin_us   INTEGER NOT NULL,            -- where the first search began; nothing older is ever taken
    reached_us INTEGER NOT NULL             -- all that changed up to here was taken
) WITHOUT ROWID;

-- == what people look at ===========================================================================================

CREATE TABLE counter (
    day         TEXT NOT NULL,              -- '2026-03-01' in the site's zone
    channel     TEXT NOT NULL,
    destination TEXT NOT NULL,              -- '' for counts of the channel itself
    name        TEXT NOT NULL,
    n           INTEGER NOT NULL,
    PRIMARY KEY (day, channel, destination, name)
) WITHOUT ROWID;

-- Each hour of each channel, on the wall clock of the site, for the last weeks (store/operations/hour_counts.py).
CREATE TABLE hour_count (
    begins_us INTEGER NOT NULL,
    channel   TEXT NOT NULL,
    received  INTEGER NOT NULL,
    delivered INTEGER NOT NULL,             -- as the counters of these names, over all destinations
    dead      INTEGER NOT NULL,
    held      INTEGER NOT NULL,
    parts     INTEGER NOT NULL,             -- parts of five minutes in which LabRelay ran, and took this channel's
    active    INTEGER NOT NULL,             -- those with a message
    age_s     INTEGER NOT NULL,             -- how old the last message became, in seconds
    PRIMARY KEY (begins_us, channel)
) WITHOUT ROWID;

-- Codes and units that no code table had; `labrelay gaps` prints them. A sender may put anything there, so they are
-- sealed and found by a keyed hash.
CREATE TABLE unmapped_code (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    token    BLOB NOT NULL UNIQUE,          -- of channel, table, code and unit
    text     BLOB NOT NULL,                 -- sealed: [table, code, unit, display]
    n        INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us  INTEGER NOT NULL
);

-- What passed on the lines of analyzers, both ways, session by session: so that a person can see which frame was
-- refused, and why. A help for people and no evidence: the oldest go, nothing else refers to it, no chain covers it.
CREATE TABLE line_trace (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    session  INTEGER NOT NULL,              -- journal.session of its frames; 0 where none was ever taken
    began_us INTEGER NOT NULL,
    size     INTEGER NOT NULL,              -- bytes of the sealed content
    content  BLOB NOT NULL                  -- sealed: store/operations/line_trace.py
);
CREATE INDEX line_trace_channel ON line_trace (channel, id, size);
CREATE INDEX line_trace_session ON line_trace (session) WHERE session > 0;

-- == acts with a key of their caller's own =========================================================================

-- Acts that came with a key of the caller's own, and their answers: store/operations/kept_answers.py.
CREATE TABLE kept_answer (
    key     BLOB PRIMARY KEY,               -- keyed hash of the caller and the key
    request BLOB NOT NULL,                  -- keyed hash of the request
    at_us   INTEGER NOT NULL,
    status  INTEGER NOT NULL,               -- 0: it has no answer
    answer  BLOB NOT NULL                   -- JSON: numbers, names, codes
) WITHOUT ROWID;
CREATE INDEX kept_answer_at ON kept_answer (at_us);
