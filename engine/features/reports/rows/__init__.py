"""The tables of this feature, with all of its SQL."""
