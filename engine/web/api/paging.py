"""Cursors: where a list goes on. Lists are paged by key, newest first, so rows that come meanwhile move nothing.

A cursor is opaque to the caller. It names its list and holds numbers of rows; a changed one is refused, and could at
most skip rows that the caller may read anyway.
"""

import base64
import binascii

import orjson

from engine.model.errors import ProblemError

MOST_NUMBERS = 64
MAX_CURSOR = 2000  # characters
_LARGEST = 2**63 - 2  # a row number with one more after it


def cursor_of(name: str, *numbers: int) -> str:
    """The cursor of the list ``name`` behind these rows."""
    return base64.urlsafe_b64encode(orjson.dumps([name, *numbers])).rstrip(b"=").decode()


def numbers_in(cursor: str, name: str) -> list[int]:
    """The numbers of `cursor_of`.

    Raises:
        ProblemError: it is none of this list.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = orjson.loads(text)
    except (ValueError, binascii.Error):
        found = None
    numbers = found[1:] if isinstance(found, list) else []
    if (
        not 0 < len(numbers) <= MOST_NUMBERS
        or found[0] != name
        or not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= _LARGEST for one in numbers)
    ):
        errors = [{"parameter": "cursor", "detail": "it is no cursor of this list"}]
        raise ProblemError("arguments", "give the cursor as the page before has it", errors=errors)
    return numbers
