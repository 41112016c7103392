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

-- Messages with a critical value (`engine.model.outcome`), where the site wants alerts of them.
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

-- Each time that one was raised, and the first taking of it; they outlast the message, and name no patient.
CREATE TABLE critical_call (
    id         INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    seen_us    INTEGER NOT NULL,
    taken_us   INTEGER NOT NULL DEFAULT 0,   -- 0: no person has taken it
    taken      INTEGER NOT NULL DEFAULT 0,   -- journal.id of the act
    over_us    INTEGER NOT NULL DEFAULT 0    -- it was so no more since then, and not taken yet
);
CREATE INDEX critical_call_seen ON critical_call (seen_us);
CREATE INDEX critical_call_open ON critical_call (message_id) WHERE taken_us = 0;

-- What messages say of results that are critical, or were: a later one takes the place of those before it.
CREATE TABLE critical_result (
    message_id INTEGER NOT NULL,
    of_message INTEGER NOT NULL,             -- of the first word about the result, and the place of that
    of_place   INTEGER NOT NULL,
    alert      INTEGER NOT NULL,             -- critical_value.message_id, which may repeat it; 0: it is not critical
    lacking    TEXT NOT NULL,                -- JSON: document.id of parts of the message that do not have it
    PRIMARY KEY (of_message, of_place, message_id, alert)
) WITHOUT ROWID;
CREATE INDEX critical_result_message ON critical_result (message_id);
CREATE INDEX critical_result_alert ON critical_result (alert) WHERE alert > 0;
