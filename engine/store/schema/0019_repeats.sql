-- What the messages of a channel were seen to do (engine/repeats.py): only where a control id or a time changes, the same
-- bytes are a repeat. Nothing is known of messages from before this step. And the messages whose answer was not written
-- (engine/answers.py), as '5-9,12'.

ALTER TABLE channel ADD COLUMN id_changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channel ADD COLUMN id_faults INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channel ADD COLUMN time_changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channel ADD COLUMN time_back_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channel ADD COLUMN last_message INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channel ADD COLUMN unanswered TEXT NOT NULL DEFAULT '';
