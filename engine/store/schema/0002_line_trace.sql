-- What passed on the lines of analyzers, both ways, session by session: so that a person can see which frame was
-- refused, and why. A help for people and no evidence: the oldest go, nothing else refers to it, no chain covers it.
CREATE TABLE line_trace (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    session  INTEGER NOT NULL,              -- journal.session of its frames; 0 where none was ever taken
    began_us INTEGER NOT NULL,
    size     INTEGER NOT NULL,              -- bytes of the sealed content
    content  BLOB NOT NULL                  -- sealed: engine/line_trace.py
);
CREATE INDEX line_trace_channel ON line_trace (channel, id, size);
CREATE INDEX line_trace_session ON line_trace (session) WHERE session > 0;
