"""JSON that keeps the text of every number: 148.50 stays 148.50, in FHIR a different result from 148.5.

Python's parser hands each number over as text; a number that is not a small plain integer becomes an `orjson.Fragment`,
which `render` writes unchanged. A Fragment has no value: nothing here computes with decimals.
"""

import json
from typing import Any

import orjson

from workbench.errors import MalformedError

LONGEST_INTEGER = 15  # digits; longer ones travel as text, like decimals


def parse(body: bytes) -> Any:
    """Read JSON.

    Raises:
        MalformedError: not UTF-8, not JSON, NaN or Infinity, nested too deeply.
    """
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise MalformedError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise MalformedError("nested too deeply") from None


def render(value: Any) -> bytes:
    """Write JSON.

    Raises:
        MalformedError: a string that is no Unicode text (half a surrogate pair), or too much nesting.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise MalformedError("a string that is not Unicode text, or too much nesting") from error


def _integer(text: str) -> Any:
    return int(text) if len(text) <= LONGEST_INTEGER and text != "-0" else orjson.Fragment(text)


def _refuse(text: str) -> Any:
    raise MalformedError(f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(parse_float=orjson.Fragment, parse_int=_integer, parse_constant=_refuse)
