"""The part of a ``source:`` block for a FHIR server that is asked again and again.

source: {kind: fhir-search, url: https://emr.example.org/fhir, search: ServiceRequest, every: 10s}
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.reading.values import Duration, Flag, Model, Text, Whole, Words

DAY = 86_400.0
OURS = ("_lastUpdated", "_count", "_sort", "_include", "_revinclude", "_summary", "_elements", "_total", "_format")
ENDS = {"ServiceRequest": "revoked", "Task": "cancelled"}  # the status by which an order is cancelled


def _not_ours(given: dict[str, str]) -> dict[str, str]:
    for name in given:
        if name.partition(":")[0] in OURS:
            raise ValueError(f"{name} is LabRelay's own; take it out")
    return given


Parameters = Annotated[dict[Text, Text], AfterValidator(_not_ours), Words("block of `name: value` of a search")]


class FhirSearchPart(Model):
    """Resources of a FHIR R4 server, for a system that cannot send by itself: it is searched for what has changed."""

    transport: Literal["fhir_search"] = "fhir_search"
    """How bytes come: `fhir_search`."""

    link: Literal["whole"] = "whole"
    """`whole`: each resource is a message of its own."""

    format: Literal["fhir"] = "fhir"
    """Content: `fhir`. A message is a Bundle with the resource, and with those that it refers to."""

    search: Literal["ServiceRequest", "Task"] = "ServiceRequest"
    """Which resources are orders there: each `ServiceRequest`; or each `Task`, whose `focus` is a ServiceRequest."""

    parameters: Parameters = Field(default_factory=dict)
    """More parameters of the search, as `{category: 108252007}` or `{owner: Organization/lab}`. A `status` has to name
    `revoked` too (of a Task `cancelled`): else no cancel is ever seen."""

    every: Duration = Field(default=10.0, ge=0.05, le=3600)
    """Time between two searches."""

    begin: Duration = Field(default=DAY, ge=60.0, le=30 * DAY)
    """How far back the very first search goes. What the server had before is never taken."""

    overlap: Duration = Field(default=300.0, ge=1.0, le=DAY)
    """Each search goes back so far behind what was taken already, for a server that shows a change some time after
    the time that it notes. What comes twice in it is taken once."""

    page: Whole = Field(default=100, ge=1, le=1000)
    """Resources of one answer of the server (`_count`)."""

    plain: Flag = False
    """`true`: search without `_sort` and `_include`, for a server that refuses these. Each resource that an order
    refers to is then read by itself."""

    timeout: Duration = Field(default=30.0, gt=0, le=600)
    """Time for one request, connecting included."""

    @property
    def reads_as(self) -> str:
        return "json"

    @model_validator(mode="after")
    def _sees_cancels(self) -> Self:
        ends = ENDS[self.search]
        for name, value in self.parameters.items():
            if name.partition(":")[0] == "status" and ends not in value.split(","):
                raise PydanticCustomError(
                    "fhir_search",
                    f"a search for status {value} never finds an order that was cancelled; add {ends}, or take it out",
                )
        return self
