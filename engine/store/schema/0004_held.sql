-- Results that a route's rule keeps back until a person releases or rejects them (delivery.state held, rejected), and
-- what such rules may ask: earlier values of a patient, and the analyzer's last controls. Both memories are bounded by
-- time and swept in small steps.

-- Flags of a delivery that came with it: 4 released by a person, 8 its values are remembered once it is released.
-- settled_us of a held delivery: since when it is held.
CREATE INDEX delivery_held ON delivery (lane, settled_us) WHERE state = 'held';
CREATE INDEX delivery_rejected ON delivery (message_id) WHERE state = 'rejected';

CREATE TABLE earlier_value (
    id      INTEGER PRIMARY KEY,
    key     BLOB NOT NULL,                  -- 16-byte keyed hash: patient, code, unit
    run     BLOB NOT NULL,                  -- 16-byte keyed hash: the Observation; a correction takes its place
    at_us   INTEGER NOT NULL,               -- when it was measured
    kept_us INTEGER NOT NULL,               -- when it was noted here
    value   BLOB NOT NULL                   -- sealed: the decimal as it was written
);
CREATE UNIQUE INDEX earlier_value_run ON earlier_value (key, run);
CREATE INDEX earlier_value_at ON earlier_value (key, at_us);

CREATE TABLE control_result (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    code     TEXT NOT NULL,                 -- of the test, as the analyzer writes it
    material BLOB NOT NULL,                 -- 16-byte keyed hash of the control's specimen number
    at_us    INTEGER NOT NULL,              -- when it was received
    failed   INTEGER NOT NULL
);
CREATE UNIQUE INDEX control_result_material ON control_result (channel, code, material);
