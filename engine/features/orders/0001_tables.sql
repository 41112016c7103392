-- Orders of laboratory systems, test by test: what is to be measured of which tube (rows). Numbers
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
    made       INTEGER NOT NULL,            -- 1: the analyzer made it itself (rows/self_made.py)
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

-- Rows of `reflex:` that are in force: where a rule says yes of a result of a test, one more test is proposed.
CREATE TABLE order_reflex_rule (
    channel TEXT NOT NULL,
    test    TEXT NOT NULL,                  -- of the order that has the result
    adds    TEXT NOT NULL,
    rule    TEXT NOT NULL,                  -- its name
    auto    INTEGER NOT NULL,               -- 1: it is ordered without a person
    PRIMARY KEY (channel, test, adds)
) WITHOUT ROWID;

-- Tests that were proposed because of a result: one row for an order and a test, whatever comes again.
CREATE TABLE order_reflex (
    id         INTEGER PRIMARY KEY,
    parent     INTEGER NOT NULL,            -- order_item.number of the order that has the result
    adds       TEXT NOT NULL,
    rule       TEXT NOT NULL,
    version    TEXT NOT NULL,               -- of the rule, when it said yes last; '' it did not
    channel    TEXT NOT NULL,
    message_id INTEGER NOT NULL,            -- the newest message with that result
    state      TEXT NOT NULL,               -- rows/reflex.py
    auto       INTEGER NOT NULL,            -- 1: no person decides while it is proposed
    restored   INTEGER NOT NULL,            -- 1: a restore brought it back as it was; a person may have decided since
    at_us      INTEGER NOT NULL,
    act        INTEGER NOT NULL,            -- journal.id of the decision; 0: none
    item       INTEGER NOT NULL             -- the order that was made; 0: none
);
CREATE UNIQUE INDEX order_reflex_of ON order_reflex (parent, adds);
CREATE INDEX order_reflex_message ON order_reflex (message_id);
CREATE INDEX order_reflex_due ON order_reflex (id) WHERE auto AND state = 'proposed';

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
-- (rows/matching.py).
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
