"""Quality control."""

from engine.feature import Feature

FEATURE = Feature()
