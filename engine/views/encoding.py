"""Rows of views as JSON. Instants are in UTC, as RFC 3339 has them."""

from datetime import UTC, datetime
from typing import Any

import orjson


def encoded(value: Any, *, indent: bool = False) -> bytes:
    option = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, default=_plain, option=option)


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value)
