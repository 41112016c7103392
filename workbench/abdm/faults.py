"""Deliberate faults of the simulator: at the start by options, at run time by ``POST /faults``.

Of an answer to a call, which is not carried out unless it says so:

    a status       400 to 599, with an error in the form of an object; 401 is that of a token that has ended
    429-after      and 503-after: with Retry-After
    empty          400 without a body
    html           200 with the page of a proxy; html-502 with that status
    object list flat message fields text      400 in one of the forms in which the gateway writes errors
    ABDM-1022 ...  400 with this code; the rest is the message
    lost           carried out, and then the connection is reset: the caller cannot know
    reset          the connection is reset
    hang           no answer

Of a callback:

    duplicate      twice, with one REQUEST-ID
    repeat         twice, the second time with a new REQUEST-ID
    early          before the call that it answers returns, which waits for it, `Faults.late_s` at most
    late           after `Faults.late_s`
    reordered      behind the next one, or after `Faults.late_s` where there is none
    dropped        never
    late-token     its token ended a quarter of an hour ago; the gateway repeats with such tokens, so it is to be taken
    no-prefix      to the path without /api, which is to be taken
    wrong-consent-signature   the grant in it is signed by a key that is not the gateway's
    ABDM-1036 ...  with this error in place of the result of a call
    FORGED         a callback that is to be refused comes first, with a REQUEST-ID of its own; the right one follows
"""

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from workbench.abdm.calls import NAMES
from workbench.abdm.paths import PATHS

SHAPES = ("object", "list", "flat", "message", "fields", "text")
ANSWERS = ("429-after", "503-after", "empty", "html", "html-502", *SHAPES, "lost", "reset", "hang")
FORGED = (
    *("expired", "wrong-signature", "alg-none", "hs256", "unknown-key", "wrong-issuer", "own-account", "no-token"),
    *("other-facility", "not-json", "too-large"),
)
SIGNED_WRONG = "wrong-consent-signature"
ARRIVALS = ("duplicate", "repeat", "early", "late", "reordered", "dropped", "late-token", "no-prefix", SIGNED_WRONG)
PUSHES = ("429-after", "503-after", "empty", "html", "lost", "reset", "hang")
MOST_SCRIPTED = 10_000  # faults that wait for one call or callback
CODE = re.compile(r"(ABDM-[0-9]{4})(?: (.{1,200}))?")
EVERY = "*"


def _one_of(words: tuple[str, ...], *, codes: bool = True, statuses: bool = True) -> AfterValidator:
    def check(text: str) -> str:
        status = statuses and re.fullmatch("[45][0-9]{2}", text) is not None
        if text in words or status or (codes and CODE.fullmatch(text)):
            return text
        others = ("a status from 400 to 599",) * statuses + ("a code as ABDM-1022",) * codes
        raise PydanticCustomError("fault_kind", f"expected one of {', '.join((*words, *others))}")

    return AfterValidator(check)


Answer = Annotated[str, _one_of(ANSWERS)]
Arrival = Annotated[str, _one_of((*ARRIVALS, *FORGED), statuses=False)]
Push = Annotated[str, _one_of(PUSHES, codes=False)]
CallName = Annotated[str, _one_of((EVERY, *sorted(NAMES)), codes=False, statuses=False)]
CallbackName = Annotated[str, _one_of((EVERY, *PATHS), codes=False, statuses=False)]


class Faults(BaseModel):
    """The faults in force; none by default. The fields are also the JSON of ``POST /faults``."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    calls: dict[CallName, Annotated[list[Answer | None], Field(max_length=MOST_SCRIPTED)]] = Field(
        default_factory=dict,
        description="By name of the call (`*`: each): the faults of the next ones, in order; null lets one pass.",
    )
    callbacks: dict[CallbackName, Annotated[list[Arrival | None], Field(max_length=MOST_SCRIPTED)]] = Field(
        default_factory=dict, description="By name of the callback (`*`: each), as `calls`."
    )
    pushes: list[Push | None] = Field(
        default_factory=list, max_length=MOST_SCRIPTED, description="Of the next pages that a reader gets."
    )
    reader: Literal["up", "down", "slow"] = Field(
        default="up", description="`down` resets each page, `slow` answers it after `slow_s`."
    )
    slow_s: float = Field(default=2.0, ge=0, le=3600)
    late_s: float = Field(default=1.0, ge=0, le=3600)
    retry_after_s: int = Field(default=1, ge=0, le=3600, description="Of 429-after and 503-after.")
    token_life_s: int = Field(default=1200, ge=1, le=86_400, description="Of session tokens that are made from now on.")

    def change(self, changes: "Faults") -> None:
        """Take over those fields that ``changes`` was given."""
        for name in changes.model_fields_set:
            setattr(self, name, getattr(changes, name))


class Drawer:
    """Takes the next fault of a script, and counts."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()

    def answer(self, call: str) -> str:
        """The fault of this call, or an empty text."""
        return self._of(self.faults.calls, call)

    def arrival(self, callback: str) -> str:
        return self._of(self.faults.callbacks, callback)

    def push(self) -> str:
        if self.faults.reader == "down":
            return self._counted("reset")
        return self._counted((self.faults.pushes.pop(0) if self.faults.pushes else None) or "")

    def _of(self, scripts: "dict[str, list[str | None]]", name: str) -> str:
        script = scripts.get(name) or scripts.get(EVERY)
        return self._counted((script.pop(0) if script else None) or "")

    def _counted(self, kind: str) -> str:
        if kind:
            self.counts[kind] += 1
        return kind
