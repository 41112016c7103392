"""The ``source:`` of a channel, a module for each way in."""
