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

-- What people have said about an entry of the to-do list (`engine.features.todo.rules`), which itself is not stored: who has
-- taken it, a note, until when it is not shown. The acts (journal.id, 0: none) say who, when, and the words.
CREATE TABLE todo (
    key          TEXT NOT NULL PRIMARY KEY,  -- names, codes and keyed hashes; the same for the same cause
    taken        INTEGER NOT NULL DEFAULT 0,
    note         INTEGER NOT NULL DEFAULT 0,
    snooze       INTEGER NOT NULL DEFAULT 0,
    until_us     INTEGER NOT NULL DEFAULT 0, -- of the snooze; the rank of the entry's level and its count then
    rank         INTEGER NOT NULL DEFAULT 0,
    count        INTEGER NOT NULL DEFAULT 0,
    gone_us      INTEGER NOT NULL DEFAULT 0  -- since when the entry is no longer on the list; 0: it is
) WITHOUT ROWID;

-- When each user last looked at the to-do list, and what was on it: the page says what came and went since the visit
-- before this one. Looks that follow each other within minutes are one visit.
CREATE TABLE todo_look (
    user        INTEGER PRIMARY KEY,         -- app_user.id
    at_us       INTEGER NOT NULL,            -- of the last look
    keys        TEXT NOT NULL,               -- of the entries then, one a line
    before_us   INTEGER NOT NULL,            -- of the last look of the visit before; 0: there was none
    before_keys TEXT NOT NULL
);

-- Alerts (`engine.features.alerts`): entries of the to-do list that people are notified of, wherever they are. A row is
-- deleted an hour after its alert has ended.
CREATE TABLE alert (
    key        TEXT NOT NULL PRIMARY KEY,    -- of the entry: names, codes and keyed hashes
    rule       TEXT NOT NULL,
    level      TEXT NOT NULL,
    phrase     TEXT NOT NULL,                -- a sentence (engine/model/texts/phrases.py); no patient data, as on the page
    subject    TEXT NOT NULL,
    count      INTEGER NOT NULL,
    since_us   INTEGER NOT NULL,             -- this and all others: 0: not, or never
    fired_us   INTEGER NOT NULL,
    gone_us    INTEGER NOT NULL,
    sent_us    INTEGER NOT NULL,
    sent_count INTEGER NOT NULL,
    said_us    INTEGER NOT NULL,
    sent_to    TEXT NOT NULL,                -- names of sinks, with a space between them
    steps      INTEGER NOT NULL,
    starts     TEXT NOT NULL,                -- instants, with a space between them
    unsteady   INTEGER NOT NULL,
    taken_us   INTEGER NOT NULL,
    taken      INTEGER NOT NULL,             -- journal.id of the act
    urgent     INTEGER NOT NULL
) WITHOUT ROWID;

-- What was sent of alerts, to which sink, and when. Lines that went out together have one message number, the id of the
-- first of them; before its first attempt a line has none (0).
CREATE TABLE alert_line (
    id         INTEGER PRIMARY KEY,
    sink       TEXT NOT NULL,
    key        TEXT NOT NULL,
    what       TEXT NOT NULL,
    level      TEXT NOT NULL,
    phrase     TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    due_us     INTEGER NOT NULL,             -- of the next attempt
    lasted_us  INTEGER NOT NULL,
    urgent     INTEGER NOT NULL,
    message    INTEGER NOT NULL DEFAULT 0,
    attempt    INTEGER NOT NULL DEFAULT 0,   -- how many were begun
    unsure     INTEGER NOT NULL DEFAULT 0,   -- 1: an attempt may have reached the sink
    failing_us INTEGER NOT NULL DEFAULT 0,   -- since when attempts fail
    ended_us   INTEGER NOT NULL DEFAULT 0,
    is_sent    INTEGER NOT NULL DEFAULT 0,   -- 1: the sink has taken it; 0 with ended_us: it was given up
    refused    TEXT NOT NULL DEFAULT ''      -- addresses that the sink has not taken it for, each with the reason
);
CREATE INDEX alert_line_open ON alert_line (sink, id) WHERE ended_us = 0;
CREATE INDEX alert_line_ended ON alert_line (ended_us) WHERE ended_us > 0;

-- A person's word that some alerts are not sent for a time; the act (journal.id) says who, when, and why.
CREATE TABLE alert_silence (
    act      INTEGER PRIMARY KEY,
    pattern  TEXT NOT NULL,
    until_us INTEGER NOT NULL
);

-- Messages with a critical value (`engine.succession.critical`), where the site wants alerts of them.
CREATE TABLE critical_value (
    message_id INTEGER PRIMARY KEY,
    channel    TEXT NOT NULL,
    seen_us    INTEGER NOT NULL,
    taken_us   INTEGER NOT NULL DEFAULT 0,   -- a person has taken it then
    taken      INTEGER NOT NULL DEFAULT 0,   -- journal.id of the act; 0 with taken_us: alerts of them were switched off
    over_us    INTEGER NOT NULL DEFAULT 0,   -- it is so no more since then
    over_by    INTEGER NOT NULL DEFAULT 0    -- the message that says so; 0 with over_us: a person has rejected it
);
CREATE INDEX critical_value_open ON critical_value (message_id) WHERE taken_us = 0;

-- Their results, as keyed hashes (`engine.model.criticals`): what a later message says of them.
CREATE TABLE critical_result (
    id         INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,
    key        TEXT NOT NULL,
    person     TEXT NOT NULL,
    said       TEXT NOT NULL,
    measured   TEXT NOT NULL,
    drawn      TEXT NOT NULL,
    state      TEXT NOT NULL,
    noted_us   INTEGER NOT NULL,
    over_us    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX critical_result_key ON critical_result (key) WHERE over_us = 0;
CREATE INDEX critical_result_message ON critical_result (message_id);

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
    fault      TEXT NOT NULL                -- the part of it that was damaged or lost; or ''
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

-- How far the events of each webhook were taken (store/operations/webhooks.py).
CREATE TABLE webhook (
    name        TEXT PRIMARY KEY,
    position    TEXT NOT NULL,              -- behind the last one: model/events.py
    given_up    INTEGER NOT NULL,           -- events that the receiver refused
    given_up_us INTEGER NOT NULL            -- when the last one was given up; 0 never
) WITHOUT ROWID;

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

-- == worklist =====================================================================================================

-- Orders of laboratory systems, test by test: what is to be measured of which tube (store/operations/worklist). Numbers
-- are gapless and never used again. The keyed hashes find an item; its sealed content decides. Questions of analyzers
-- walk through open items alone, so that those that have ended cost them nothing.
CREATE TABLE order_item (
    number     INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,            -- journal.id of the message or act that ordered it
    line       INTEGER NOT NULL,            -- its place there, from 0
    last_id    INTEGER NOT NULL,            -- journal.id of the last message or act that changed it
    source     TEXT NOT NULL,               -- channel of the order; '' for a person's
    state      TEXT NOT NULL,               -- model/orders.py, as is the reason
    reason     TEXT NOT NULL,
    rank       INTEGER NOT NULL,            -- of its priority; 0 first
    targets    TEXT NOT NULL,               -- channels and groups that may run it, a comma after each; '': all
    specimen   BLOB NOT NULL,               -- 16-byte keyed hashes, or empty
    patient    BLOB NOT NULL,
    placer     BLOB NOT NULL,
    filler     BLOB NOT NULL,
    place      BLOB NOT NULL,               -- rack and position
    tray       BLOB NOT NULL,               -- and its position
    test       BLOB NOT NULL,
    channel    TEXT NOT NULL,               -- the analyzer that it was answered or offered to last, or that measures it; '': none
    code       TEXT NOT NULL,               -- of the test there
    query      INTEGER NOT NULL,            -- order_query.number of the answer that is under way; 0: none
    sent       INTEGER NOT NULL,            -- 1: the analyzer has it, or may have it
    after      INTEGER NOT NULL,            -- the item that an analyzer must give up first; 0: none
    run        INTEGER NOT NULL,            -- 1, and one more for each rerun
    parent     INTEGER NOT NULL,            -- the item of the run before, that it replaced, or that it is a reflex of;
                                            -- 0: none
    made       INTEGER NOT NULL,            -- 1: the analyzer made it itself (store/operations/worklist/self_made.py)
    created_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    waits_us   INTEGER NOT NULL,            -- how long it waits, from when it came or was sent again
    reuse_us   INTEGER NOT NULL,            -- how long after its end its specimen number is not another patient's
    events     INTEGER NOT NULL,            -- rows of order_event
    written_us INTEGER NOT NULL,            -- when any column of this row was written last
    given_us   INTEGER NOT NULL,            -- when the analyzer got it that has it, or had it; 0: none has
    content    BLOB NOT NULL                -- sealed: the line of the LIS
);
CREATE INDEX order_item_specimen ON order_item (specimen, number) WHERE specimen <> x'';
CREATE INDEX order_item_placer ON order_item (placer, number) WHERE placer <> x'';
CREATE INDEX order_item_filler ON order_item (filler, number) WHERE filler <> x'';
CREATE INDEX order_item_place ON order_item (place, number) WHERE place <> x'';
CREATE INDEX order_item_tray ON order_item (tray, number) WHERE tray <> x'';
CREATE INDEX order_item_patient ON order_item (patient, number) WHERE patient <> x'';
CREATE INDEX order_item_message ON order_item (message_id, line);
CREATE INDEX order_item_askable ON order_item (rank, number DESC, state, targets, test, created_us)
    WHERE state IN ('waiting', 'offered', 'accepted', 'in_progress');
CREATE INDEX order_item_open ON order_item (state, expires_us)
    WHERE state IN ('waiting', 'held', 'offered', 'accepted', 'in_progress', 'cancel_pending');
CREATE INDEX order_item_written ON order_item (written_us);
CREATE INDEX order_item_reasoned ON order_item (state, changed_us) WHERE reason <> '';
CREATE INDEX order_item_after ON order_item (after) WHERE after > 0;
CREATE INDEX order_item_query ON order_item (query) WHERE query > 0;

-- Each change of an item, and each result or answer that changed nothing and is worth knowing.
CREATE TABLE order_event (
    item       INTEGER NOT NULL,
    n          INTEGER NOT NULL,            -- from 1 without gaps
    at_us      INTEGER NOT NULL,
    event      TEXT NOT NULL,               -- 'taken', or of model/order_rules.py
    state      TEXT NOT NULL,               -- of the item afterwards, as is the reason
    reason     TEXT NOT NULL,
    late       INTEGER NOT NULL,            -- 1: a result of an item that was given up
    channel    TEXT NOT NULL,               -- the analyzer concerned; '' none
    message_id INTEGER NOT NULL,            -- journal.id of the message or act; 0 none
    query      INTEGER NOT NULL,            -- order_query.number; 0 none
    cause      TEXT NOT NULL,               -- a short constant; '' none
    detail     BLOB NOT NULL,               -- sealed: the analyzer's words; or empty
    own_us     INTEGER NOT NULL,            -- of a result: when it was measured, as it says itself; 0 not known
    PRIMARY KEY (item, n)
) WITHOUT ROWID;
CREATE INDEX order_event_late ON order_event (at_us) WHERE late = 1;
CREATE INDEX order_event_result ON order_event (message_id) WHERE event IN ('preliminary', 'final', 'result_held');

-- How long the tests of an analyzer take, from the order to the final result (model/usual_times.py).
CREATE TABLE order_usual (
    channel  TEXT NOT NULL,
    code     TEXT NOT NULL,                 -- of the test there
    took     TEXT NOT NULL,                 -- microseconds of the newest results, the newest last, a comma after each
    usual_us INTEGER NOT NULL,              -- 0: too little history
    late_us  INTEGER NOT NULL,              -- an order without a result is late after this; a stat order after half
    PRIMARY KEY (channel, code)
) WITHOUT ROWID;

-- Rows of order_event that the laboratory system of the item hears of, and answers to messages of orders, in their
-- order, that no message was made of yet.
CREATE TABLE order_notice (
    number INTEGER PRIMARY KEY,
    item   INTEGER NOT NULL,                -- 0: the answer to a message
    n      INTEGER NOT NULL                 -- the row of order_event; of an answer journal.id of the message
);

-- Questions of analyzers and their answers, and downloads. Written before the first byte of the answer.
CREATE TABLE order_query (
    number     INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,            -- journal.id of the question; 0: a download
    channel    TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    kind       TEXT NOT NULL,               -- model/orders.py
    asked      INTEGER NOT NULL,            -- specimens
    items      TEXT NOT NULL,               -- numbers of the items of the answer, a comma after each
    cut        INTEGER NOT NULL,
    open       INTEGER NOT NULL,            -- items of which it is not known yet whether they arrived
    ended_us   INTEGER NOT NULL,            -- when that was known of all; 0: not yet
    outcome    TEXT NOT NULL                -- of the last that was known: sent, accepted, or why not
);
CREATE INDEX order_query_channel ON order_query (channel, number);
CREATE INDEX order_query_message ON order_query (message_id);
CREATE INDEX order_query_untold ON order_query (number) WHERE outcome = '';
CREATE INDEX order_query_open ON order_query (number) WHERE open > 0;

-- Which specimens an analyzer asked for, and why it was told of no order.
CREATE TABLE order_asked (
    specimen BLOB NOT NULL,                 -- as in order_item
    query    INTEGER NOT NULL,
    items    INTEGER NOT NULL,
    none     TEXT NOT NULL,                 -- model/orders.py; '': there were orders
    PRIMARY KEY (specimen, query)
) WITHOUT ROWID;
CREATE INDEX order_asked_query ON order_asked (query);

-- Results of a two-way analyzer that no order is there for: how many of which specimen, in which message
-- (store/operations/worklist/matching.py).
CREATE TABLE order_without (
    message_id INTEGER NOT NULL,            -- journal.id
    specimen   BLOB NOT NULL,               -- as in order_item
    patient    BLOB NOT NULL,               -- as in order_item
    bearer     BLOB NOT NULL,               -- keyed hash of the patient's number, to the letter
    channel    TEXT NOT NULL,
    at_us      INTEGER NOT NULL,
    results    INTEGER NOT NULL,
    matched    INTEGER NOT NULL,            -- of them, with an order by a person
    codes      TEXT NOT NULL,               -- of their tests, as the analyzer names these
    older      INTEGER NOT NULL,            -- 1: there is an order, and it came after a result was measured
    PRIMARY KEY (message_id, specimen)
) WITHOUT ROWID;
CREATE INDEX order_without_specimen ON order_without (specimen, message_id);

-- == who has which number ==========================================================================================

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

-- == ABDM ==========================================================================================================

-- Patients whose number or address at India's network of health records is known, of each facility. The keyed hashes
-- find them; the sealed content decides.
CREATE TABLE abdm_patient (
    number     INTEGER PRIMARY KEY,
    facility   TEXT NOT NULL,               -- id at the gateway
    reference  TEXT NOT NULL UNIQUE,        -- as which the network knows the patient here: drawn by chance
    state      TEXT NOT NULL,               -- model/abdm.py
    notice     INTEGER NOT NULL,            -- leaving: abdm_callback.number of the first notice of it; else 0
    noticed    INTEGER NOT NULL,            -- abdm_callback.number of the newest notice of leaving; 0: there is none
    address    BLOB NOT NULL,               -- 16-byte keyed hashes, or empty
    abha       BLOB NOT NULL,
    mobile     BLOB NOT NULL,
    patient    BLOB NOT NULL,               -- of the laboratory's own number
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    content    BLOB NOT NULL                -- sealed: address, number, name, gender, year of birth ...; or empty
);
CREATE INDEX abdm_patient_changed ON abdm_patient (changed_us);
CREATE UNIQUE INDEX abdm_patient_address ON abdm_patient (address, facility) WHERE address <> x'';
CREATE INDEX abdm_patient_abha ON abdm_patient (abha, facility) WHERE abha <> x'';
CREATE INDEX abdm_patient_mobile ON abdm_patient (mobile, facility) WHERE mobile <> x'';
CREATE INDEX abdm_patient_patient ON abdm_patient (patient, facility) WHERE patient <> x'';
CREATE INDEX abdm_patient_leaving ON abdm_patient (number) WHERE state = 'leaving';

-- Link tokens: with one the facility links records of the patient.
CREATE TABLE abdm_link_token (
    patient  INTEGER PRIMARY KEY,           -- abdm_patient.number
    state    TEXT NOT NULL,                 -- model/abdm.py
    until_us INTEGER NOT NULL,              -- end of its life, or of the block; 0: neither
    token    BLOB NOT NULL                  -- sealed; or empty
);
CREATE INDEX abdm_link_token_blocked ON abdm_link_token (until_us) WHERE state = 'blocked';

-- Care contexts: each report that was delivered here, in its newest version.
CREATE TABLE abdm_context (
    number      INTEGER PRIMARY KEY,
    facility    TEXT NOT NULL,
    reference   TEXT NOT NULL UNIQUE,       -- as which the network knows it: drawn by chance
    accession   BLOB NOT NULL,              -- 16-byte keyed hash of channel and document: its later issues find it
    tube        BLOB NOT NULL,              -- of channel and the laboratory's number, which other patients may have, too
    mobile      BLOB NOT NULL,              -- keyed hashes of what the report says of its patient, or empty
    abha        BLOB NOT NULL,
    patient     INTEGER NOT NULL,           -- abdm_patient.number; 0: waits for one
    state       TEXT NOT NULL,              -- model/abdm.py
    reason      TEXT NOT NULL,              -- why it waits or failed: a short constant; '' none
    message_id  INTEGER NOT NULL,           -- journal.id of the newest version; 0: made by hand
    document_id INTEGER NOT NULL,           -- document.id of it
    version     INTEGER NOT NULL,           -- from 1
    notified    INTEGER NOT NULL,           -- the version that the patient's app has heard of; 0 none
    issued_us   INTEGER NOT NULL,           -- of the report, for the dates of a consent
    made_us     INTEGER NOT NULL,
    changed_us  INTEGER NOT NULL,
    content     BLOB NOT NULL               -- sealed: what the app shows, the patient as the report has him, its issues
);
CREATE INDEX abdm_context_changed ON abdm_context (changed_us);
CREATE UNIQUE INDEX abdm_context_accession ON abdm_context (accession, facility) WHERE accession <> x'';
CREATE INDEX abdm_context_tube ON abdm_context (tube, facility) WHERE tube <> x'';
CREATE INDEX abdm_context_mobile ON abdm_context (mobile, facility) WHERE mobile <> x'';
CREATE INDEX abdm_context_abha ON abdm_context (abha, facility) WHERE abha <> x'';
CREATE INDEX abdm_context_patient ON abdm_context (patient, state);
CREATE INDEX abdm_context_doubt ON abdm_context (reason, number)
    WHERE reason IN ('moved', 'same_number', 'other_name', 'not-notified');
CREATE INDEX abdm_context_failed ON abdm_context (reason, changed_us) WHERE state = 'failed';
CREATE INDEX abdm_context_message ON abdm_context (message_id);
CREATE INDEX abdm_context_list ON abdm_context (facility, state, reason);

-- Calls to the gateway. A call is here before its first byte goes out, and each attempt has a REQUEST-ID of its own:
-- the callback with the result may come before the answer, or after a crash.
CREATE TABLE abdm_call (
    number        INTEGER PRIMARY KEY,
    facility      TEXT NOT NULL,
    name          TEXT NOT NULL,            -- 'link' ...: engine/features/abdm
    subject       INTEGER NOT NULL,         -- number of the patient, context, consent or transfer that it is about
    state         TEXT NOT NULL,            -- model/abdm.py
    attempt       INTEGER NOT NULL,         -- that were made
    not_before_us INTEGER NOT NULL,         -- of the next one; accepted: when the callback is overdue
    accepted_us   INTEGER NOT NULL,         -- the first time that the gateway took it since the last callback; 0 none
    ends_us       INTEGER NOT NULL,         -- no attempt after this; 0: no end
    made_us       INTEGER NOT NULL,
    changed_us    INTEGER NOT NULL,
    status        INTEGER NOT NULL,         -- of HTTP, of the last answer; 0 none
    code          TEXT NOT NULL,            -- of the fault, as ABDM-1027; '' none
    content       BLOB NOT NULL,            -- sealed: the body, and numbers of the rows that it is about
    fault         BLOB NOT NULL             -- sealed: the gateway's words; or empty
);
CREATE INDEX abdm_call_changed ON abdm_call (changed_us);
CREATE INDEX abdm_call_due ON abdm_call (state, not_before_us) WHERE state IN ('waiting', 'accepted');
CREATE INDEX abdm_call_sending ON abdm_call (number) WHERE state = 'sending';
CREATE INDEX abdm_call_failed ON abdm_call (number) WHERE state = 'failed';
CREATE INDEX abdm_call_subject ON abdm_call (name, subject, number);
CREATE TABLE abdm_request (
    request_id TEXT PRIMARY KEY,            -- a UUID
    call       INTEGER NOT NULL,
    at_us      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX abdm_request_call ON abdm_request (call);

-- Callbacks as they came, in the order in which they were committed. They are answered once they are here.
CREATE TABLE abdm_callback (
    number      INTEGER PRIMARY KEY,
    path        TEXT NOT NULL,              -- without /api
    facility    TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    received_us INTEGER NOT NULL,
    late_s      INTEGER NOT NULL,           -- since the end of its token
    age_s       INTEGER NOT NULL,           -- since it was made, as it says itself; 0: it came at once, or does not say
    signed      INTEGER NOT NULL,           -- 1: a grant of a consent, whose signature was proven
    token       BLOB NOT NULL,              -- 16-byte keyed hash of the token that has proven it; or empty
    state       TEXT NOT NULL,              -- model/abdm.py
    reason      TEXT NOT NULL,              -- why nothing was done: a short constant; '' none
    changed_us  INTEGER NOT NULL,
    body        BLOB NOT NULL,              -- sealed: the bytes as received; or empty
    UNIQUE (request_id, path)
);
CREATE INDEX abdm_callback_changed ON abdm_callback (changed_us);
CREATE INDEX abdm_callback_stored ON abdm_callback (number) WHERE state = 'stored';
CREATE INDEX abdm_callback_refused ON abdm_callback (number) WHERE state = 'refused';
CREATE INDEX abdm_callback_facility ON abdm_callback (facility);
CREATE INDEX abdm_callback_token ON abdm_callback (token) WHERE token <> x'';

-- Consents of patients, as their artefacts have them.
CREATE TABLE abdm_consent (
    number     INTEGER PRIMARY KEY,
    consent_id TEXT NOT NULL UNIQUE COLLATE NOCASE, -- a UUID of the consent manager, in letters of either case
    facility   TEXT NOT NULL,
    patient    INTEGER NOT NULL,            -- abdm_patient.number; 0: none of ours
    state      TEXT NOT NULL,               -- model/consents.py
    reason     TEXT NOT NULL,
    signed     INTEGER NOT NULL,            -- 1: the signature of its grant was proven
    granted    INTEGER NOT NULL,            -- doubtful: abdm_callback.number of the first grant since then; else 0
    ends_us    INTEGER NOT NULL,            -- dataEraseAt; 0: unknown, as of one that was revoked before it came
    served     INTEGER NOT NULL,            -- requests for records that were taken
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    content    BLOB NOT NULL                -- sealed: the artefact as it came, with its signature; or empty
);
CREATE INDEX abdm_consent_changed ON abdm_consent (changed_us);
CREATE INDEX abdm_consent_patient ON abdm_consent (patient);
CREATE INDEX abdm_consent_doubt ON abdm_consent (reason, changed_us)
    WHERE state = 'GRANTED' AND reason IN ('suspended', 'bad_signature', 'other_patient', 'doubtful');
CREATE INDEX abdm_consent_granted ON abdm_consent (ends_us) WHERE state = 'GRANTED';
CREATE INDEX abdm_consent_list ON abdm_consent (facility, state, reason);

-- Requests for records, and the encrypted pages of each. A page is here, sealed, before its first byte is sent.
CREATE TABLE abdm_transfer (
    number         INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL UNIQUE,    -- a UUID of the consent manager
    consent        INTEGER NOT NULL,        -- abdm_consent.number; 0: unknown
    facility       TEXT NOT NULL,
    state          TEXT NOT NULL,           -- model/abdm.py
    reason         TEXT NOT NULL,
    pages          INTEGER NOT NULL,
    ends_us        INTEGER NOT NULL,        -- of its window
    made_us        INTEGER NOT NULL,
    changed_us     INTEGER NOT NULL,
    content        BLOB NOT NULL            -- sealed: the request, with the address and key of the reader; or empty
);
CREATE INDEX abdm_transfer_changed ON abdm_transfer (changed_us);
CREATE INDEX abdm_transfer_consent ON abdm_transfer (consent);
CREATE INDEX abdm_transfer_open ON abdm_transfer (number) WHERE state NOT IN ('ended', 'refused');
CREATE INDEX abdm_transfer_list ON abdm_transfer (facility, state, reason);
CREATE TABLE abdm_page (
    transfer      INTEGER NOT NULL,
    n             INTEGER NOT NULL,         -- from 1 without gaps
    context       INTEGER NOT NULL,         -- abdm_context.number
    document_id   INTEGER NOT NULL,
    state         TEXT NOT NULL,            -- model/abdm.py
    reason        TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    unsent        INTEGER NOT NULL,         -- of these attempts, those of which no byte went out
    not_before_us INTEGER NOT NULL,
    status        INTEGER NOT NULL,         -- of HTTP, of the last answer; 0 none
    changed_us    INTEGER NOT NULL,
    body          BLOB NOT NULL,            -- sealed: the bytes of the page, as each attempt sends them; or empty
    PRIMARY KEY (transfer, n)
) WITHOUT ROWID;
CREATE INDEX abdm_page_context ON abdm_page (context);

-- Tokens of patients who have shared their profile at a counter.
CREATE TABLE abdm_share (
    number     INTEGER PRIMARY KEY,
    facility   TEXT NOT NULL,
    counter    TEXT NOT NULL,               -- as the code on the wall names it
    day        TEXT NOT NULL,               -- '2026-03-01' in the site's zone
    token      INTEGER NOT NULL,            -- from 1 for each counter and day
    patient    INTEGER NOT NULL,            -- abdm_patient.number; 0: it does not count yet, he has left, or is erased
    until_us   INTEGER NOT NULL,            -- until then a scan has the same token
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    content    BLOB NOT NULL                -- sealed: the profile, until its messages are made; then empty
);
CREATE INDEX abdm_share_changed ON abdm_share (changed_us);
CREATE UNIQUE INDEX abdm_share_token ON abdm_share (facility, counter, day, token);
CREATE INDEX abdm_share_patient ON abdm_share (patient);
CREATE INDEX abdm_share_new ON abdm_share (number) WHERE content <> x'';

-- Reports whose patients were invited by SMS; and patients who have left, who get none.
CREATE TABLE abdm_invitation (
    number     INTEGER PRIMARY KEY,
    context    INTEGER NOT NULL,            -- abdm_context.number; 0: of one who has left
    leaver     INTEGER NOT NULL,            -- abdm_patient.number of one who has left; else 0
    mobile     BLOB NOT NULL,               -- 16-byte keyed hashes, or empty
    patient    BLOB NOT NULL,               -- of the laboratory's own number
    state      TEXT NOT NULL,               -- store/operations/abdm/invitations.py
    code       TEXT NOT NULL,               -- of the gateway, where it sent none; '' none
    made_us    INTEGER NOT NULL,
    changed_us INTEGER NOT NULL
);
CREATE INDEX abdm_invitation_changed ON abdm_invitation (changed_us);
CREATE UNIQUE INDEX abdm_invitation_context ON abdm_invitation (context) WHERE context > 0;
CREATE INDEX abdm_invitation_mobile ON abdm_invitation (mobile, made_us) WHERE mobile <> x'';
CREATE INDEX abdm_invitation_leaver ON abdm_invitation (leaver) WHERE leaver > 0;
CREATE INDEX abdm_invitation_patient ON abdm_invitation (patient) WHERE patient <> x'';
-- Links that patients make: each search of an app with the care contexts that it was offered, and the codes by which the
-- patient shows that the mobile in the laboratory's file is his. Both go after a day.
CREATE TABLE abdm_offer (
    number         INTEGER PRIMARY KEY,
    transaction_id TEXT NOT NULL,
    facility       TEXT NOT NULL,
    asker          BLOB NOT NULL,           -- keyed hash of the ABHA address; or empty
    ends_us        INTEGER NOT NULL,
    made_us        INTEGER NOT NULL,
    changed_us     INTEGER NOT NULL,
    content        BLOB NOT NULL,           -- sealed: who asked, and the contexts that he was offered; or empty: none
    UNIQUE (transaction_id, facility)
);
CREATE INDEX abdm_offer_changed ON abdm_offer (changed_us);
CREATE INDEX abdm_offer_asker ON abdm_offer (asker, facility, made_us);
CREATE TABLE abdm_code (
    number        INTEGER PRIMARY KEY,
    offer         INTEGER NOT NULL,         -- abdm_offer.number
    reference     TEXT NOT NULL UNIQUE,     -- a UUID, by which the app names it
    facility      TEXT NOT NULL,
    request_id    TEXT NOT NULL,            -- of the callback that its sending answers
    mobile        BLOB NOT NULL,            -- keyed hash
    state         TEXT NOT NULL,            -- model/abdm_links.py
    reason        TEXT NOT NULL,            -- of the end: a short constant; '' none
    code          BLOB NOT NULL,            -- keyed hash
    typed         BLOB NOT NULL,            -- keyed hash of the last wrong one; or empty
    typed_us      INTEGER NOT NULL,
    wrong         INTEGER NOT NULL,         -- wrong ones
    attempt       INTEGER NOT NULL,         -- to send it
    not_before_us INTEGER NOT NULL,         -- of the next one
    ends_us       INTEGER NOT NULL,
    made_us       INTEGER NOT NULL,
    changed_us    INTEGER NOT NULL,
    content       BLOB NOT NULL,            -- sealed: the chosen contexts; or empty
    text          BLOB NOT NULL             -- sealed: code and mobile, until it was sent; or empty
);
CREATE INDEX abdm_code_changed ON abdm_code (changed_us);
CREATE INDEX abdm_code_offer ON abdm_code (offer);
CREATE INDEX abdm_code_mobile ON abdm_code (mobile, made_us);
CREATE INDEX abdm_code_due ON abdm_code (not_before_us) WHERE state IN ('waiting', 'sending');

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

-- Rows of code tables that people wrote in place of those in files (store/operations/corrections.py): added, and never
-- changed. The newest of a key decides.
CREATE TABLE correction (
    version INTEGER PRIMARY KEY,            -- 1, 2, 3 ...
    act     INTEGER NOT NULL,               -- journal.id of its row in the audit trail
    at_us   INTEGER NOT NULL,
    text    BLOB NOT NULL                   -- sealed: channel, table, key, cells, who and why
);

-- Reagent lots that analyzers name in their messages, and which messages name them. Written with the verdict on a
-- message; lots identify no patient. `labrelay reagents` reads them.
CREATE TABLE reagent (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    name     TEXT NOT NULL,                 -- as the analyzer calls it, or ''
    lot      TEXT NOT NULL,                 -- as the analyzer writes it
    lot_key  TEXT NOT NULL,                 -- its letters and digits in upper case: what a search compares
    expires  TEXT NOT NULL,                 -- '2018-10-30', '2019-07', or ''
    tests    TEXT NOT NULL,                 -- codes of the tests it was named for, one a line; '': of all
    remains  TEXT NOT NULL,                 -- what was left when it was named last, or ''
    first_us INTEGER NOT NULL,              -- receive times of the messages
    last_us  INTEGER NOT NULL,
    n        INTEGER NOT NULL               -- messages
);
CREATE UNIQUE INDEX reagent_name ON reagent (channel, lot_key, name, expires);
CREATE INDEX reagent_lot ON reagent (lot_key);
CREATE INDEX reagent_last ON reagent (channel, last_us);

CREATE TABLE reagent_use (
    reagent    INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    tests      TEXT NOT NULL,               -- codes of the tests, one a line; '': the message names none
    PRIMARY KEY (reagent, message_id)
) WITHOUT ROWID;
CREATE INDEX reagent_use_message ON reagent_use (message_id);

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

-- == who may work here =============================================================================================

-- Persons who log in. Each change is a row of the audit trail.
CREATE TABLE app_user (
    id            INTEGER PRIMARY KEY,      -- journal.id of the act that added the user
    name          TEXT NOT NULL,            -- as it is shown
    name_key      TEXT NOT NULL UNIQUE,     -- what a log-in compares: model/accounts.py
    role          TEXT NOT NULL,
    sees_patients INTEGER NOT NULL,
    disabled      INTEGER NOT NULL,
    credentials   BLOB NOT NULL,            -- sealed: hashes of password, PIN and recovery codes, secret of the second
                                            -- factor
    created_us    INTEGER NOT NULL,
    logged_in_us  INTEGER NOT NULL,         -- 0 never
    issuer        TEXT NOT NULL,            -- the identity provider of this user; empty: a password of ours
    subject       TEXT NOT NULL,            -- how that provider names them
    language      TEXT NOT NULL DEFAULT ''  -- of the pages; empty: as the browser asks
);
CREATE UNIQUE INDEX app_user_subject ON app_user (issuer, subject) WHERE issuer <> '';

CREATE TABLE log_in_session (
    token    BLOB PRIMARY KEY,              -- SHA-256 of its secret
    number   INTEGER NOT NULL UNIQUE,       -- what a person names it by: journal.id of its log-in
    user     INTEGER NOT NULL,
    address  TEXT NOT NULL,                 -- where it was begun
    how      TEXT NOT NULL,                 -- password, second factor, PIN, set-up link
    began_us INTEGER NOT NULL,
    seen_us  INTEGER NOT NULL,
    ends_us  INTEGER NOT NULL,              -- at the latest
    kept     TEXT NOT NULL                  -- sealed: ID token and session of the identity provider; empty: not by one
) WITHOUT ROWID;

-- Browsers that a user has logged in from: each counts refusals by itself, so that an attacker cannot lock out a user
-- who works, and a PIN suffices there for a while.
CREATE TABLE log_in_device (
    device       BLOB NOT NULL,             -- SHA-256 of the browser's secret; another one from each full log-in on
    user         INTEGER NOT NULL,
    number       INTEGER NOT NULL,          -- journal.id of the user's first log-in there
    seen_us      INTEGER NOT NULL,
    pin_until_us INTEGER NOT NULL,          -- 0: a full log-in is needed
    wrong_pins   INTEGER NOT NULL,          -- in a row
    PRIMARY KEY (device, user)
) WITHOUT ROWID;

CREATE TABLE api_token (
    name        TEXT PRIMARY KEY,
    token       BLOB NOT NULL UNIQUE,       -- SHA-256 of its secret
    permissions TEXT NOT NULL,              -- words, with spaces between them
    made_by     TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    ends_us     INTEGER NOT NULL,           -- 0 never
    used_us     INTEGER NOT NULL,           -- 0 never
    used_from   TEXT NOT NULL
) WITHOUT ROWID;

-- Refused log-ins: how many in a row, and until when the next one is refused without a look. Rows are kept for an hour
-- after the last one; of names that are no user's and of addresses the oldest go before.
CREATE TABLE failed_log_in (
    origin   BLOB PRIMARY KEY,              -- keyed hash of a user, a name, an address, a browser or a session
    user     INTEGER NOT NULL,              -- 0 none
    n        INTEGER NOT NULL,
    last_us  INTEGER NOT NULL,
    until_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX failed_log_in_last ON failed_log_in (last_us);

-- Refusals are rows of the audit trail, one a while for each user, with their number.
CREATE TABLE refused_log_in (
    user     INTEGER PRIMARY KEY,           -- 0: names that are no user's
    noted_us INTEGER NOT NULL,              -- when the last row was written
    n        INTEGER NOT NULL               -- refusals since
);

-- Acts that came with a key of the caller's own, and their answers: store/operations/kept_answers.py.
CREATE TABLE kept_answer (
    key     BLOB PRIMARY KEY,               -- keyed hash of the caller and the key
    request BLOB NOT NULL,                  -- keyed hash of the request
    at_us   INTEGER NOT NULL,
    status  INTEGER NOT NULL,               -- 0: it has no answer
    answer  BLOB NOT NULL                   -- JSON: numbers, names, codes
) WITHOUT ROWID;
CREATE INDEX kept_answer_at ON kept_answer (at_us);
