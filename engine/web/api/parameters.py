"""The arguments of each resource, as models: what is not declared here is refused, and the refusal names it.

Times are as RFC 3339 has them; without an offset, in the site's zone. An age (``2h``) counts from now.
"""

from collections.abc import Sequence
from typing import Annotated, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from engine.model.orders import ItemReason, ItemState
from engine.model.reasons import ReasonCode
from engine.model.records import LETTER_STATES, MessageState
from engine.store.queries.order_tabs import TABS
from engine.web.api.paging import MAX_CURSOR

MOST_ROWS = 1000
LARGEST = 2**63 - 2  # number of a row that the journal can have, with one more after it

RowNumber = Annotated[int, Field(ge=0, le=LARGEST)]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Limit = Annotated[int, Field(ge=1, le=MOST_ROWS, description="At most so many; rows of one message stay together.")]
Cursor = Annotated[str, Field(max_length=MAX_CURSOR, pattern="^[A-Za-z0-9_-]*$", description="Of the page before.")]
_Time = Field(min_length=2, max_length=40, examples=["2h", "2026-03-01T10:30:00+05:30"])
Since = Annotated[str, _Time, Field(description="Received since.")]
Until = Annotated[str, _Time, Field(description="Received before.")]


def _one_of(words: Sequence[str]) -> AfterValidator:
    def check(given: str) -> str:
        if given not in words:
            raise ValueError(f"it is one of {', '.join(words)}")
        return given

    return AfterValidator(check)


STATES = (*get_args(MessageState), "waiting", "delivered", "held")
CODES = tuple(code.value for code in ReasonCode)
StoredState = Annotated[str, _one_of(STATES), Field(json_schema_extra={"enum": [*STATES]})]
ORDER_STATES = tuple(state.value for state in ItemState)
ORDER_REASONS = tuple(reason.value for reason in ItemReason if reason.value)
OrderState = Annotated[str, _one_of(ORDER_STATES), Field(json_schema_extra={"enum": [*ORDER_STATES]})]
OrderReason = Annotated[str, _one_of(ORDER_REASONS), Field(json_schema_extra={"enum": [*ORDER_REASONS]})]
OrderTab = Annotated[str, _one_of([*TABS]), Field(json_schema_extra={"enum": [*TABS]})]
OrderNumber = Annotated[str, Field(pattern="^W[1-9][0-9]{0,18}$", examples=["W17"])]
LetterState = Annotated[str, _one_of(LETTER_STATES), Field(json_schema_extra={"enum": [*LETTER_STATES]})]
Code = Annotated[str, _one_of(CODES), Field(json_schema_extra={"enum": [*CODES]})]


class Nothing(BaseModel):
    """No arguments; the base class of all."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class Messages(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    since: Since | None = None
    until: Until | None = None
    channel: Word | None = None
    destination: Word | None = None
    """With a delivery to it; in this state, where the state is one of deliveries."""
    state: StoredState | None = None
    code: Code | None = None
    """A reason code."""
    type: Word | None = None
    """As `ORU^R01`."""
    specimen: Word | None = None
    """Exactly this number of a specimen or order."""
    control_id: Word | None = None
    lot: Word | None = None
    """A reagent lot; letters and digits are compared."""


class MessageSearch(Messages):
    patient: Word | None = None
    """Exactly this number of a patient; needs the permission see-patients."""


class OneMessage(Nothing):
    message: RowNumber


class Operations(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""


class Orders(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    state: OrderState | None = None
    reason: OrderReason | None = None
    tab: OrderTab | None = None
    """Those of a list of the page; with it neither a state nor a reason is given."""
    channel: Word | None = None
    """That this analyzer has, or may run."""
    specimen: Word | None = None
    """Exactly this number of a specimen."""
    placer: Word | None = None
    """Exactly this number of the order at the one who ordered it."""


class OneOrder(Nothing):
    item: OrderNumber


class WithoutOrder(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    channel: Word | None = None


class Questions(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    channel: Word | None = None
    unanswered: bool = False
    """Those of the last 24 hours without an answer, or without orders for a tube that is not done."""


class OneOperation(Nothing):
    number: RowNumber


class Reveal(Nothing):
    purpose: Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200)]
    """Why the contents are looked at; kept in the audit trail. Write no patient data here."""


class Groups(Nothing):
    since: Since | None = None
    until: Until | None = None
    channel: Word | None = None
    destination: Word | None = None
    code: Code | None = None


class Letters(Groups):
    limit: Limit = 50
    cursor: Cursor = ""
    state: LetterState | None = None


class Held(Groups):
    limit: Limit = 50
    cursor: Cursor = ""
    rejected: bool = False
    """Those that a person has rejected, instead."""


class Channel(Nothing):
    channel: Word | None = None


class Reagents(Channel):
    lot: Word | None = None
    limit: Limit = 100


class Acts(Nothing):
    limit: Limit = 50
    cursor: Cursor = ""
    since: Since | None = None
    until: Until | None = None
    actor: Word | None = None
    act: Word | None = None
    """The kind: `retry`, `unmask`, ..."""
    message: RowNumber | None = None
    """Acts that name this message."""
