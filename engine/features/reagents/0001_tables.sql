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
