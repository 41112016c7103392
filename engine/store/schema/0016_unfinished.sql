-- Incomplete messages, as far as their bytes are concerned: how much is kept of each, and how often it came
-- (engine/unfinished.py). Their content goes before that of all others, so none of them can fill the disk.
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

INSERT INTO unfinished (message_id, token, bytes, times, last_us, first_row, last_row)
    SELECT s.id, x'', max(j.size, 4096), 1, j.received_us, 0, 0
    FROM message_state s JOIN journal j ON j.id = s.id WHERE s.state = 'incomplete';
