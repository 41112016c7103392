-- Codes and units that no table had come out of messages, and a sender may put anything there: they are sealed, and found
-- by a keyed hash. What was counted before is counted anew; `labrelay gaps --since 30d` tells it meanwhile, out of the stored messages.
DROP TABLE unmapped;
CREATE TABLE unmapped_code (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    token    BLOB NOT NULL UNIQUE,         -- of channel, table, code and unit
    text     BLOB NOT NULL,                -- sealed: [table, code, unit, display]
    n        INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us  INTEGER NOT NULL
);
