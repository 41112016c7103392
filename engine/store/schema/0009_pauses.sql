-- What a person has paused: a channel's source (destination ''), a destination (channel ''), or the lane of both.
-- Kept until somebody resumes it, over restarts and reloads. Who paused it, and why, stands in the act's row.

CREATE TABLE pause (
    channel     TEXT NOT NULL,
    destination TEXT NOT NULL,
    since_us    INTEGER NOT NULL,
    act         INTEGER NOT NULL,           -- journal.id
    PRIMARY KEY (channel, destination)
) WITHOUT ROWID;

INSERT INTO pause (channel, destination, since_us, act) SELECT channel, destination, 0, 0 FROM lane WHERE paused <> 0;
