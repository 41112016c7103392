"""The part of a ``source:`` block for what a laboratory system hears of its orders later, unasked.

source: {kind: order-status, of: his}
"""

from typing import Literal

from engine.config.values import Flag, Model, Names


class StatusPart(Model):
    """Changes of orders: each is an HL7 v2 message (ORM^O01), which the routes of the channel send on."""

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

    @property
    def place(self) -> str:
        return "the worklist"
