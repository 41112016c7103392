"""Deliberate faults of the sandbox: at the start by options, at run time by ``POST /$faults``.

Faults concern writes (transactions, batches, POST, PUT, DELETE), so that a test can always read the stored resources;
``down`` alone concerns every FHIR request.

    a status  400 to 599   refused with that status before anything is kept; 429 and 503 with Retry-After
    reset                  the connection is reset before anything is kept
    lost                   kept, and then the connection is reset: the client cannot know
    cut                    kept, and half of the answer arrives
    html                   a log-in page with 200, as a captive portal answers; nothing is kept
    hang                   no answer, the connection stays open
"""

import random
from collections import Counter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

WORDS = ("reset", "lost", "cut", "html", "hang")
KEEPING = frozenset({"lost", "cut"})  # the request is carried out first


def _kind(text: str) -> str:
    if text in WORDS or (len(text) == 3 and text.isascii() and text.isdigit() and text[0] in "45"):
        return text
    raise PydanticCustomError("fault_kind", f"expected a status from 400 to 599, or one of {', '.join(WORDS)}")


Kind = Annotated[str, AfterValidator(_kind)]


class Faults(BaseModel):
    """The faults in force; all off by default. The fields are also the JSON of ``POST /$faults``."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    fail: float = Field(default=0.0, ge=0, le=1, description="Share of writes that fail, 0 to 1.")
    kinds: tuple[Kind, ...] = Field(
        default=("503", "reset", "lost"), min_length=1, description="How they fail, each as likely as the others."
    )
    next: list[Kind | None] = Field(
        default_factory=list, description="Faults of the next writes, one each, in order; null lets one pass."
    )
    down: bool = Field(default=False, description="Reset every FHIR request.")
    html: bool = Field(default=False, description="Answer every write with a log-in page.")
    latency: float = Field(default=0.0, ge=0, le=3600, description="Seconds before each answer.")
    retry_after: int | None = Field(default=None, ge=0, description="Retry-After of 429 and 503, in seconds.")
    foreign: int = Field(
        default=0,
        ge=0,
        description="So many of the resources that the next transactions PUT, and that are there already, are changed "
        "by another client first: a new version, with `language` `x-foreign`.",
    )
    refuse: frozenset[str] = Field(
        default=frozenset(), description="Identifier values: a transaction that has one of them is answered 422."
    )
    blind: bool = Field(
        default=False,
        description="Take each conditional update (`PUT Type?search`), also where its `ifMatch` does not fit.",
    )
    choke: frozenset[str] = Field(
        default=frozenset(), description="Identifier values: on a write that has one of them the connection is reset."
    )

    def change(self, changes: "Faults") -> None:
        """Take over those fields that ``changes`` was given."""
        for name in changes.model_fields_set:
            setattr(self, name, getattr(changes, name))


class FaultDrawer:
    """Decides for each write, and counts. A given ``seed`` makes the same decisions again."""

    def __init__(self, faults: Faults, seed: int | None = None) -> None:
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)

    def draw(self, *, writes: bool) -> str:
        """The fault of this request, or an empty text."""
        fault = self._draw(writes)
        if fault:
            self.counts[fault] += 1
        return fault

    def _draw(self, writes: bool) -> str:
        faults = self.faults
        if faults.down:
            return "reset"
        if not writes:
            return ""
        if faults.next:
            return faults.next.pop(0) or ""
        if faults.html:
            return "html"
        if faults.fail and self._random.random() < faults.fail:
            return self._random.choice(faults.kinds)
        return ""
