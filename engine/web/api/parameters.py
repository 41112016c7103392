"""The arguments of each resource, as models: what is not declared here is refused, and the refusal names it.

Times are as RFC 3339 has them; without an offset, in the site's zone. An age (``2h``) counts from now.

Cursors: where a list goes on. Lists are paged by key, newest first, so rows that come meanwhile move nothing.

A cursor is opaque to the caller. It names its list and holds numbers of rows; a changed one is refused, and could at
most skip rows that the caller may read anyway.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, get_args

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from engine.model.errors import ProblemError
from engine.model.journal.records import MessageState
from engine.model.texts.reasons import ReasonCode

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


MOST_ROWS = 1000
LARGEST = 2**63 - 2  # number of a row that the journal can have, with one more after it

RowNumber = Annotated[int, Field(ge=0, le=LARGEST)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Field(ge=1, le=MOST_ROWS, description="At most so many; rows of one message stay together.")]
Cursor = Annotated[str, Field(max_length=MAX_CURSOR, pattern="^[A-Za-z0-9_-]*$", description="Of the page before.")]
_Time = Field(min_length=2, max_length=40, examples=["2h", "2026-03-01T10:30:00+05:30"])
Since = Annotated[str, _Time, Field(description="Received since.")]
Until = Annotated[str, _Time, Field(description="Received before.")]


def one_of(words: Sequence[str]) -> AfterValidator:
    """For a type of arguments: a word that is none of these is refused."""

    def check(given: str) -> str:
        if given not in words:
            raise ValueError(f"it is one of {', '.join(words)}")
        return given

    return AfterValidator(check)


STATES = (*get_args(MessageState), "waiting", "delivered", "held")
CODES = tuple(code.value for code in ReasonCode)
StoredState = Annotated[str, one_of(STATES), Field(json_schema_extra={"enum": [*STATES]})]
Code = Annotated[str, one_of(CODES), Field(json_schema_extra={"enum": [*CODES]})]


class Nothing(BaseModel):
    """No arguments; the base class of all."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True)


class Messages(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    since: Since | None = None
    until: Until | None = None
    channel: Word | None = None
    destination: Word | None = Field(
        None, description="With a delivery to it; in this state, where the state is one of deliveries."
    )
    state: StoredState | None = None
    code: Code | None = Field(None, description="A reason code.")
    type: Word | None = Field(None, description="As `ORU^R01`.")
    specimen: Word | None = Field(None, description="Exactly this number of a specimen or order.")
    control_id: Word | None = None
    lot: Word | None = Field(None, description="A reagent lot; letters and digits are compared.")


class MessageSearch(Messages):
    patient: Word | None = Field(
        None, description="Exactly this number of a patient; needs the permission see-patients."
    )


class OneMessage(Nothing):
    message: RowNumber


class Paged(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""


class OneRow(Nothing):
    number: RowNumber


class Reveal(Nothing):
    purpose: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)] = Field(
        description="Why the contents are looked at; kept in the audit trail. Write no patient data here."
    )


class OfLetters(Nothing):
    since: Since | None = None
    until: Until | None = None
    channel: Word | None = None
    destination: Word | None = None
    code: Code | None = None


class Channel(Nothing):
    channel: Word | None = None


class Events(Nothing):
    types: Annotated[str, Field(min_length=1, max_length=1000, examples=["delivery.dead,alert"])] | None = Field(
        None, description="Kinds or types of events, with commas between them; by default all that the caller may read."
    )
    after: Annotated[str, Field(max_length=60)] | None = Field(
        None, description="Where to go on, as Last-Event-ID says it; by default from now on."
    )


class Acts(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    since: Since | None = None
    until: Until | None = None
    actor: Word | None = None
    act: Word | None = Field(None, description="The kind: `retry`, `unmask`, ...")
    message: RowNumber | None = Field(None, description="Acts that name this message.")
