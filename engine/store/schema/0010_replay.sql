-- Replays that have not come to their end: how far each has come, changed in the transaction that queues its deliveries.
CREATE TABLE replay (
    number     INTEGER PRIMARY KEY,         -- journal.id of its first act, which says what it is about
    position   INTEGER NOT NULL,            -- journal.id of the last message it has dealt with
    last       INTEGER NOT NULL,            -- newest message when it began
    total      INTEGER NOT NULL,            -- messages
    done       INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    failed     INTEGER NOT NULL             -- of these, dead letters as far as they were noted
);
