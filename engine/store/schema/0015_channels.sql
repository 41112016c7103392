-- Messages of a channel, cut into blocks of neighbouring rows of the journal (engine/listing.py). As one index over all of
-- them each channel had a page of its own, and each message wrote that page to the log anew. The numbers in a lane are
-- looked for among what is open only, which has its own indexes; each delivery wrote a page for all of them, too.

DROP INDEX journal_message;
CREATE UNIQUE INDEX journal_channel ON journal (id >> 10, channel, seq) WHERE kind = 1;
DROP INDEX delivery_lane;
