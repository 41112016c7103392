-- How far the events of each webhook were taken (store/operations/webhooks.py).
CREATE TABLE webhook (
    name        TEXT PRIMARY KEY,
    position    TEXT NOT NULL,              -- behind the last one: model/events.py
    given_up    INTEGER NOT NULL,           -- events that the receiver refused
    given_up_us INTEGER NOT NULL            -- when the last one was given up; 0 never
) WITHOUT ROWID;
