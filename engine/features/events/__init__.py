"""Events for other programs: a stream, and webhooks."""

from engine.feature import Feature

FEATURE = Feature(
    keys="config:EventsKeys",
    servers="config:servers",
    key_help="config:KEYS",
)
