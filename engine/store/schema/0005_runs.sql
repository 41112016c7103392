-- A correction or a withdrawal takes away the earlier value whatever code and unit that stood under.
CREATE INDEX earlier_value_of_run ON earlier_value (run);
