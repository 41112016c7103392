"""What deletes expired rows of persons, numbers and earlier values."""

from functools import partial

from engine.features.results.rows.delta_history import sweep_controls, sweep_values
from engine.store.core.sweeping import sweep

EVERY = (partial(sweep, table="bearer", key=("number", "whole")), sweep_values, sweep_controls)
