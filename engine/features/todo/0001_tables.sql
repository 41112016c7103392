-- What people have said about an entry of the to-do list (`engine.features.todo.rules`), which itself is not stored: who has
-- taken it, a note, until when it is not shown. The acts (journal.id, 0: none) say who, when, and the words.
CREATE TABLE todo (
    key          TEXT NOT NULL PRIMARY KEY,  -- names, codes and keyed hashes; the same for the same cause
    taken        INTEGER NOT NULL DEFAULT 0,
    note         INTEGER NOT NULL DEFAULT 0,
    snooze       INTEGER NOT NULL DEFAULT 0,
    until_us     INTEGER NOT NULL DEFAULT 0, -- of the snooze; the rank of the entry's level and its count then
    rank         INTEGER NOT NULL DEFAULT 0,
    count        INTEGER NOT NULL DEFAULT 0,
    gone_us      INTEGER NOT NULL DEFAULT 0  -- since when the entry is no longer on the list; 0: it is
) WITHOUT ROWID;

-- When each user last looked at the to-do list, and what was on it: the page says what came and went since the visit
-- before this one. Looks that follow each other within minutes are one visit.
CREATE TABLE todo_look (
    user        INTEGER PRIMARY KEY,         -- app_user.id
    at_us       INTEGER NOT NULL,            -- of the last look
    keys        TEXT NOT NULL,               -- of the entries then, one a line
    before_us   INTEGER NOT NULL,            -- of the last look of the visit before; 0: there was none
    before_keys TEXT NOT NULL
);
