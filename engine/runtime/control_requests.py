"""The arguments of each verb of the control socket. An error names each missing, unknown or mistyped field."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from engine.actions.control import Request
from engine.actions.selection import Selection
from engine.actions.underway import DEFAULT_RATE
from engine.model.errors import LabRelayError, RefusedError
from engine.model.orders import SPECIMEN_LENGTH, Priority
from engine.model.permissions import Permission
from engine.model.search_keys import MAX_LENGTH


def _selection(given: Any) -> Selection:
    selection = Selection.from_json(given)
    if selection.is_empty:
        raise RefusedError("nothing was selected; name messages or a filter, or say all")
    return selection


Selected = Annotated[Selection, PlainValidator(_selection)]
Purpose = Annotated[str, Field(min_length=1)]
LONGEST_TYPED = 200  # characters of what a person types of a patient
RowNumber = Annotated[int, Field(ge=1, lt=2**63 - 1)]
NumberOrNone = Annotated[int, Field(ge=0, lt=2**63 - 1)]  # 0: none
Seconds = Annotated[float, Field(ge=1, le=30 * 86_400)]
Rate = Annotated[float, Field(gt=0, le=100_000)]  # messages a second


class NoArguments(BaseModel):
    """No arguments; the base class of all arguments."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)


class Act(NoArguments):
    reason: str | None = None
    dry_run: bool = False

    @property
    def why(self) -> str:
        return self.reason or ""


class ActOnSelection(Act):
    selection: Selected


class Reload(NoArguments):
    """``dry_run``: the files are read and checked, and nothing of them comes into force."""

    dry_run: bool = False


class Retry(Act):
    """``overwrite``: our version replaces the server's where that is another one; needs a reason."""

    selection: Selected
    overwrite: bool = False


class Replay(Act):
    selection: Selected
    to: str | None = None
    rate: Rate = DEFAULT_RATE


class Reprocess(NoArguments):
    """The command compares first, without the daemon, so there is no ``dry_run``.

    ``config_hash``: of the configuration that was compared with; its first 12 digits are enough.
    """

    selection: Selected
    reason: str = ""
    rate: Rate
    config_hash: Annotated[str, Field(min_length=12)]
    mapping: str | None = None
    mapping_hash: str | None = None


class Edit(Act):
    """``config_hash``: of the configuration that the person has seen the outcome with, as the dry run says it; its
    first 12 digits are enough. None: the outcome was not looked at.
    """

    message: RowNumber
    config_hash: Annotated[str, Field(min_length=12)] | None = None


class TellApart(Act):
    message: RowNumber
    answer: str


class SetAside(Act):
    message: RowNumber
    destination: str | None = None


class Erase(NoArguments):
    messages: list[int]
    numbers: list[str]
    reason: str
    more: dict[str, Any] = {}


class OneOperation(NoArguments):
    number: RowNumber


class Backup(NoArguments):
    do: Literal["now", "drill", "state", "go-on"]
    reason: str = ""  # for going on


class ContentsShown(NoArguments):
    message: RowNumber
    purpose: Purpose


class PatientSearched(NoArguments):
    number: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]


class ContentsExported(NoArguments):
    what: dict[str, Any]
    purpose: str

    @model_validator(mode="after")
    def _states_a_purpose(self) -> Self:
        """An export without patients (``deid``) needs none."""
        if not self.purpose and not self.what.get("deid"):
            raise ValueError("an export of patient data needs a purpose")
        return self


class Key(NoArguments):
    step: Literal["rotate", "confirm", "show", "restored"]
    key: str = ""
    discard_old: bool = False


class NewUser(NoArguments):
    name: str
    role: str
    password: str = Field(repr=False)
    sees_patients: bool = False


class UserChange(NoArguments):
    """``value``: the role, the password, or yes as ``on``; empty where the change needs none."""

    name: str
    do: Literal["role", "see-patients", "password", "second-factor-off", "disable", "enable", "remove"]
    value: str = Field(default="", repr=False)


class NewToken(NoArguments):
    name: str
    permissions: Annotated[list[Annotated[Permission, Field(strict=False)]], Field(min_length=1)]
    ends_us: int


class OneToken(NoArguments):
    name: str


class Target(NoArguments):
    kind: str
    name: str | None = None


class Switch(Target):
    reason: str = ""
    dry_run: bool = False


Cells = dict[Annotated[str, Field(max_length=50)], Annotated[str, Field(max_length=200)]]


class TableRow(Act):
    """A row for a channel's code table; without ``cells`` the files decide about the key again.

    Attributes:
        where: cells of the key columns.
        version: of the corrections that the person has seen; a dry run says it.
    """

    version: NumberOrNone | None = None
    channel: str
    table: str
    where: Annotated[Cells, Field(min_length=1, max_length=10)]
    cells: Annotated[Cells, Field(max_length=30)] = {}


class TableUndo(Act):
    """``version`` as of `TableRow`."""

    version: NumberOrNone | None = None
    correction: RowNumber


class OneEntry(NoArguments):
    key: Annotated[str, Field(min_length=1, max_length=300)]


class EntryNote(OneEntry):
    text: Annotated[str, Field(min_length=1, max_length=500)]


class EntrySnooze(OneEntry):
    seconds: Seconds
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class EntryDrop(OneEntry):
    """``only``: one part of what is kept; None: all of it."""

    only: Literal["taken", "note", "snooze"] | None = None


class AlertsSent(NoArguments):
    """``key``: of one alert; empty: of all."""

    key: Annotated[str, Field(max_length=300)] = ""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


class AlertTest(NoArguments):
    """``sink``: without it all."""

    sink: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class AlertTaken(OneEntry):
    note: Annotated[str, Field(max_length=500)] = ""


class SilenceMade(NoArguments):
    """``pattern``: a key, or the beginning of keys with a ``*`` behind it."""

    pattern: Annotated[str, Field(min_length=1, max_length=300)]
    seconds: Seconds
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class OneSilence(NoArguments):
    silence: RowNumber


OrderText = Annotated[str, Field(max_length=SPECIMEN_LENGTH)]
# No question over ASTM names a tube with a delimiter in its number.
TypedSpecimen = Annotated[str, Field(min_length=1, max_length=SPECIMEN_LENGTH, pattern=r"^[^|\\^&]+$", repr=False)]


class OrderAdd(NoArguments):
    """Tests of one tube. ``targets``: channels or groups that may run them; none: each that has a code for the test."""

    specimen: TypedSpecimen
    tests: Annotated[list[Annotated[str, Field(min_length=1, max_length=50)]], Field(min_length=1, max_length=200)]
    priority: Priority = "routine"
    placer: OrderText = ""
    specimen_type: OrderText = ""
    patient: OrderText = Field(default="", repr=False)
    family: OrderText = Field(default="", repr=False)
    given: OrderText = Field(default="", repr=False)
    birth_date: Annotated[str, Field(pattern=r"^([0-9]{4}([0-9]{2}([0-9]{2})?)?)?$", repr=False)] = ""
    sex: Literal["", "F", "M", "O", "U", "A", "N"] = ""
    targets: list[OrderText] = []


class OneOrder(NoArguments):
    order: RowNumber


class OrderShown(OneOrder):
    purpose: Purpose


class OrderWorklist(NoArguments):
    """Waiting orders with their tubes and patients; ``channels``: of these analyzers alone."""

    channels: list[str] = Field(default_factory=list)
    purpose: Purpose


class OrderChange(OneOrder):
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class OrderFetch(NoArguments):
    """Stored results: of one tube, or all since a time (microseconds since 1970)."""

    channel: str
    specimen: Annotated[str, Field(max_length=SPECIMEN_LENGTH, repr=False)] = ""
    since_us: Annotated[int, Field(ge=0, lt=2**62)] = 0

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.specimen) == bool(self.since_us):
            raise ValueError("give either the number of a tube, or a time")
        return self


class OrderMatch(OneOrder):
    message: RowNumber
    reason: Annotated[str, Field(min_length=1, max_length=500)]


Why = Annotated[str, Field(min_length=1, max_length=500)]
Typed = Annotated[str, Field(max_length=LONGEST_TYPED, repr=False)]


class AbdmContext(NoArguments):
    """``context``: a care context, by its number in the journal."""

    context: RowNumber
    reason: Why


class AbdmLink(AbdmContext):
    """A report, and its patient as typed from the card: ``number`` or ``address`` of ABHA, and what is compared.

    Attributes:
        gender: of the network: M, F, O, D, T or U.
        patient: the laboratory's own number.
        confirmed: the report, or the network, says otherwise, and the person has looked at both.
        readmit: the patient has left the network, and asks to come back.
    """

    number: Typed = ""
    address: Typed = ""
    name: Typed
    gender: Annotated[str, Field(max_length=1, repr=False)]
    year: Annotated[int, Field(ge=0, le=9999, repr=False)]
    mobile: Typed = ""
    patient: Typed = ""
    confirmed: bool = False
    readmit: bool = False


class AbdmRetry(NoArguments):
    """Made once more: the next step of one context, the report of one transfer, or one call.

    ``confirmed``: the network has refused the patient's data, and the person means that they are right.
    """

    context: NumberOrNone = 0
    transfer: NumberOrNone = 0
    call: NumberOrNone = 0
    confirmed: bool = False
    reason: Why

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(map(bool, (self.context, self.transfer, self.call))) != 1:
            raise ValueError("give one of context, transfer and call")
        if self.confirmed and not self.context:
            raise ValueError("confirmed is for a context alone")
        return self


class AbdmResume(NoArguments):
    """A suspended consent, by its number in the journal; ``looked``: the network's own list has it as granted."""

    consent: RowNumber
    looked: bool = False
    reason: Why


class Tap(NoArguments):
    channel: str
    stages: Annotated[list[str], Field(min_length=1)]


class TapContents(Tap):
    purpose: Purpose


A = TypeVar("A", bound=NoArguments)


def read(model: type[A], request: Request) -> A:
    """The arguments of a request.

    Raises:
        LabRelayError: they do not fit the verb; the error names each field, and no value.
    """
    try:
        return model.model_validate(request.args)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        text = f"{request.verb}: {wrong}; the command and the daemon may differ in version"
        raise LabRelayError(text) from None  # the other error has values in its text
