"""The part of a ``source:`` block for all that a laboratory system hears of its orders, but not on their connection.

source: {kind: order-status, of: his}
"""

from typing import Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from engine.config.channel import ChannelConfig
from engine.config.reading.values import Flag, Model, Names
from engine.config.sources.source import Source


class StatusPart(Model):
    """Changes of orders, and answers to them: each is an HL7 v2 message (ORM^O01; ORR^O02, ORL), which the routes of
    the channel send on."""

    transport: Literal["worklist"] = "worklist"
    """How messages come: from the `worklist`."""

    link: Literal["whole"] = "whole"
    """`whole`: a message is written at once."""

    format: Literal["hl7v2"] = "hl7v2"
    """Content: `hl7v2`."""

    of: Names
    """The channels with `role: orders` whose orders are meant."""

    updates: Flag = False
    """`true`: a message also where an analyzer has accepted an order, or has begun it. By default the end of an order
    alone makes one."""

    answers: Flag = False
    """`true`: the answers to these orders as well, before their changes: for a system that cannot be answered on the
    connection that its orders came by (files, a server that is searched), or that wants the application's answer on
    another one (MSH-15, MSH-16 over MLLP)."""

    tasks: Literal["keep", "update"] = "keep"
    """For orders that are Tasks on a FHIR server that is searched. `keep`: a Task that the laboratory system wrote
    stays as it is, and LabRelay writes Tasks of its own. `update`: that Task gets the status of its order, too. It
    needs `answers: true`, a server that keeps versions and looks at `If-Match`, and a route to a `fhir` destination
    with the `url` of that server."""

    @model_validator(mode="after")
    def _versions(self) -> Self:
        if self.tasks == "update" and not self.answers:
            raise PydanticCustomError(
                "tasks", "tasks: update needs answers: true: a Task is changed once it is answered"
            )
        return self

    @property
    def place(self) -> str:
        return "the worklist"


class StatusSource(StatusPart, Source):
    """Changes of orders of the worklist."""

    preset = "order-status"


def status_of(channel: ChannelConfig) -> StatusPart | None:
    """The source of a channel of changes of orders; None: it has another one."""
    source: object = channel.source
    return source if isinstance(source, StatusPart) else None
