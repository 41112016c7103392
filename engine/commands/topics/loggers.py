"""The names of loggers."""

from engine.commands.topics.tables import code, rows
from engine.monitoring import logs


def markdown() -> str:
    named = ((code(f"{logs.OURS}.{name}"), text) for name, text in logs.LOGGERS.items())
    return "\n".join(("# Loggers", "", "The names of `logger` in lines of the log.", "", *rows("logger | ", named)))
