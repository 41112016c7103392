"""How an act is declared, in one place: its name, who may give it, its arguments, its work, whether the API gives it.

A module has ``ACTS = Declared(place)``, and each act is a function below it::

    @ACTS.act("todo_note", ACTING, api="write a note to it")
    async def note(site: RunningSite, request: Request, *, key: Key, text: Text) -> Result: ...

The arguments are the parameters behind the star; or the fields of a model, the third parameter, where they are checked
together or described one by one. The docstring of the model, or of a function with parameters, describes them in the
API.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, getdoc, signature
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, create_model

from engine.actions.control import Handler, Request
from engine.actions.operations import BulkAct
from engine.actions.running_site import Result, RunningSite
from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.model.errors import LabRelayError, RefusedError
from engine.model.site.permissions import OF_UNITS, Permission

Work = TypeVar("Work", bound=Callable[..., Awaitable[Result]])


def _selection(given: Any) -> Selection:
    selection = Selection.from_json(given)
    if selection.is_empty:
        raise RefusedError("nothing was selected; name messages or a filter, or say all")
    return selection


Purpose = Annotated[str, Field(min_length=1)]
Reason = str | None  # the act itself says whether it needs one
Why = Annotated[str, Field(min_length=1, max_length=500)]
RowNumber = Annotated[int, Field(ge=1, lt=2**63 - 1)]
NumberOrNone = Annotated[int, Field(ge=0, lt=2**63 - 1)]  # 0: none
Seconds = Annotated[float, Field(ge=1, le=30 * 86_400)]
Rate = Annotated[float, Field(gt=0, le=100_000)]  # messages a second
Key = Annotated[str, Field(min_length=1, max_length=300)]
SELECTED, PLACE, NOTHING, CHANNEL, ENTRY, MESSAGE = "selection", "place", "nothing", "channel", "entry", "journal.id"


@dataclass(frozen=True, slots=True)
class Names:
    """Marks an argument that names what its act is about, for persons of some channels alone (`engine.actions.within`).

    Attributes:
        what: `CHANNEL`; `PLACE`, of the argument ``kind``; `ENTRY` of the to-do list; ``TABLE.COLUMN``; `SELECTED`;
            `NOTHING`: the act is about no channel's thing.
    """

    what: str


Selected = Annotated[Selection, PlainValidator(_selection), Names(SELECTED)]
Message = Annotated[RowNumber, Names(MESSAGE)]
EntryKey = Annotated[Key, Names(ENTRY)]


class NoArguments(BaseModel):
    """No arguments; the base class of all arguments."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True)


A = TypeVar("A", bound=NoArguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a person can do, or look at, by the control socket.

    Attributes:
        needs: all permissions of those who may give it.
        arguments: their model.
        api: what it does, in short; empty: the API does not give it.
        not_in_api: why not.
        counted: given by the API for a filter, it repeats the count of a dry run.
        slices: its slices, where it is an operation: a restart goes on with them.
        place: in documents it is listed behind those of smaller ones.
        shows: a list in its answer, of which persons of some channels get the rows whose ``subject`` is one of these.
    """

    name: str
    needs: frozenset[Permission]
    arguments: type[NoArguments]
    work: Callable[[RunningSite, Request], Awaitable[Result]]
    api: str = ""
    not_in_api: str = ""
    counted: bool = False
    slices: Callable[[Acts], BulkAct] | None = None
    place: int = 0
    shows: str = ""

    @property
    def about(self) -> dict[str, str]:
        """`Names.what` by argument. An act without it, or `shows`, is of the whole site, as one that no role in a unit
        gives.
        """
        marked = ((name, mark) for name, one in self.arguments.model_fields.items() for mark in one.metadata)
        return {name: mark.what for name, mark in marked if isinstance(mark, Names) and self.needs <= OF_UNITS}


@dataclass(frozen=True, slots=True)
class Verb:
    """An act on one site; the attributes are those of `Act`."""

    needs: frozenset[Permission]
    arguments: type[NoArguments]
    work: Handler


class Declared:
    """The acts of one module.

    Attributes:
        acts: in the order of its functions.
    """

    def __init__(self, place: int) -> None:
        """``place``: of those that name none."""
        self.acts: list[Act] = []
        self._place = place

    def act(self, name: str, needs: frozenset[Permission], **more: Any) -> Callable[[Work], Work]:
        """Declare the function below; ``more``: fields of `Act`."""

        def declare(work: Work) -> Work:
            given = {"place": self._place, **more}
            self.acts.append(Act(name=name, needs=needs, **_understood(name, work), **given))
            return work

        return declare


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


def _understood(name: str, work: Callable[..., Awaitable[Result]]) -> dict[str, Any]:
    """The arguments of an act, and its work with those of a request."""
    parameters = [*signature(work).parameters.values()][2:]
    one_model = len(parameters) == 1 and parameters[0].kind is Parameter.POSITIONAL_OR_KEYWORD
    model = parameters[0].annotation if one_model else _model(name, parameters, getdoc(work))

    async def handle(site: RunningSite, request: Request) -> Result:
        asked = read(model, request)
        if one_model:
            return await work(site, request, asked)
        return await work(site, request, **{one.name: getattr(asked, one.name) for one in parameters})

    return {"arguments": model, "work": handle}


def _model(name: str, parameters: Sequence[Parameter], doc: str | None) -> type[NoArguments]:
    if not parameters:
        return NoArguments
    fields: dict[str, Any] = {
        one.name: (one.annotation, ... if one.default is Parameter.empty else one.default) for one in parameters
    }
    return create_model(name, __base__=NoArguments, __doc__=doc, **fields)
