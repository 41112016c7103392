-- Persons who log in. Each change is a row of the audit trail.
CREATE TABLE app_user (
    id            INTEGER PRIMARY KEY,      -- journal.id of the act that added the user
    name          TEXT NOT NULL,            -- as it is shown
    name_key      TEXT NOT NULL UNIQUE,     -- what a log-in compares: model/accounts.py
    role          TEXT NOT NULL,            -- of the whole site; or in units: east:operator,west:viewer
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
    used_from   TEXT NOT NULL,
    units       TEXT NOT NULL DEFAULT ''    -- names, with spaces between them; empty: the whole site
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
