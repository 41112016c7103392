-- What rules that hold results said, by day; it stays when retention deletes the messages, and names no patient.
CREATE TABLE rule_day (
    day        TEXT NOT NULL,               -- on which the message was received: '2026-03-01' in the site's zone
    channel    TEXT NOT NULL,
    rule       TEXT NOT NULL,               -- its name
    version    TEXT NOT NULL,               -- of its text
    shadow     INTEGER NOT NULL,            -- 1: it only counts
    changed_us INTEGER NOT NULL,
    seen       INTEGER NOT NULL,            -- results that it was asked about
    hit        INTEGER NOT NULL,
    unknown    INTEGER NOT NULL,            -- that it could not judge
    confirmed  INTEGER NOT NULL,            -- documents with a hit that a person rejected
    overturned INTEGER NOT NULL,            -- ... and released
    PRIMARY KEY (day, channel, rule, version, shadow)
) WITHOUT ROWID;

-- Results of routes with rules, and those of documents that were held.
CREATE TABLE rule_test_day (
    day        TEXT NOT NULL,
    channel    TEXT NOT NULL,
    test       TEXT NOT NULL,               -- its first code; '': all codes beyond the first hundreds
    changed_us INTEGER NOT NULL,
    seen       INTEGER NOT NULL,
    touched    INTEGER NOT NULL,
    PRIMARY KEY (day, channel, test)
) WITHOUT ROWID;

-- Rules with a hit in a document that waits for a person.
CREATE TABLE rule_hit (
    message_id INTEGER NOT NULL,
    ordinal    INTEGER NOT NULL,            -- of the document
    rule       TEXT NOT NULL,
    version    TEXT NOT NULL,
    shadow     INTEGER NOT NULL,
    day        TEXT NOT NULL,
    channel    TEXT NOT NULL,
    PRIMARY KEY (message_id, ordinal, rule, version, shadow)
) WITHOUT ROWID;
