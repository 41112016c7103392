"""JSON as text: indented for people, and compared as written. Numbers keep every digit, so no parser may
make floats of them."""

import json
import re
from typing import Any

import orjson
from orjson import Fragment

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def kept(value: Any, option: int = 0) -> bytes:
    """The JSON of a value that is kept in memory. What orjson gives has up to some kilobytes more behind it."""
    return bytes(memoryview(orjson.dumps(value, option=option)))


def with_digits(text: bytes) -> Any:
    """The value of a JSON text, with each number as it is written."""
    return json.loads(text, parse_float=Fragment, parse_int=Fragment)


def indented(text: str) -> str:
    """The same document with two blanks a level; tokens stay as they are."""
    out: list[str] = []
    level = 0
    previous = ""
    for match in _TOKEN.finditer(text):
        sign = match[0]
        if sign in "}]":
            level -= 1
            if previous not in "{[":
                out.append("\n" + "  " * level)
            out.append(sign)
        else:
            if previous in ("{", "[", ","):
                out.append("\n" + "  " * level)
            out.append(": " if sign == ":" else sign)
            if sign in "{[":
                level += 1
        previous = sign
    return "".join(out)


def as_text(body: bytes | str) -> Any:
    """A document whose numbers are the texts they were written as, and true and false too: the values that YAML can
    state.
    """
    return _plain(json.loads(body, parse_float=str, parse_int=str))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
