"""The part of a ``source:`` block for all that a laboratory system hears of its orders, but not on their connection.

source: {kind: order-status, of: his}
"""

from typing import Literal

from engine.config.values import Flag, Model, Names


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

    @property
    def place(self) -> str:
        return "the worklist"
