-- Which order and specimen numbers of a site that calls them unique are in use (engine/used_numbers.py). number: key of
-- their reports, a keyed hash; days as in date.toordinal. use: 0, or what sets apart the ids of a number that was given
-- again: the message that was first to use it so. waits 1: a person has not said yet whether it is another specimen's.
-- noted_us: when it was written or changed. Kept for good: a number that was forgotten would be free.

CREATE TABLE used_number (
    number BLOB NOT NULL,
    message_id INTEGER NOT NULL,
    first_day INTEGER NOT NULL,
    last_day INTEGER NOT NULL,
    use INTEGER NOT NULL,
    waits INTEGER NOT NULL,
    noted_us INTEGER NOT NULL,
    PRIMARY KEY (number, message_id)
) WITHOUT ROWID;

-- What is released or rejected.
CREATE INDEX used_number_waits ON used_number (message_id) WHERE waits = 1;

-- Numbers without a day are unique ones: they were last used when their memory began (90 days before its end). Days since
-- the year 1 are 719163 more than those since 1970.
INSERT INTO used_number (number, message_id, first_day, last_day, use, waits, noted_us)
    SELECT key, min(message_id), min(until_us / 86400000000) - 90 + 719163, max(until_us / 86400000000) - 90 + 719163,
           0, 0, max(until_us) - 90 * 86400000000
    FROM report WHERE substr(key, 13) = x'00000000' GROUP BY key;
