-- What lists of messages walk (engine/listing.py). The first two hold no message that went well, so that they cost
-- nothing where most are delivered; the third grows at its end.

CREATE INDEX message_reason ON message_state (reason, id) WHERE reason <> '';
CREATE INDEX message_ended ON message_state (state, id) WHERE state <> 'mapped';
CREATE INDEX journal_type ON journal (message_type, id) WHERE kind = 1;
