"""Events for other programs: a stream, and webhooks."""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows.tables:TABLES",
    todo="todo:entries",
    service="service.service:EventService",
    metrics="metrics:METRICS",
    keys="config:EventsKeys",
    servers="config:servers",
    key_help="config:KEYS",
    streams="pages:EventStreams",
)
