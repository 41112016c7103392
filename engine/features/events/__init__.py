"""Events for other programs: a stream, and webhooks."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows:TABLES",
    todo="todo:entries",
    service="service:EventService",
    metrics="metrics:METRICS",
    keys="config:EventsKeys",
    servers="config:servers",
    key_help="config:KEYS",
    streams="pages:EventStreams",
)
