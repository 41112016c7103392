"""The part of a ``source:`` block for patients who share their profile at a counter, by ABDM.

source: {kind: abdm-share}
"""

from typing import Literal

from engine.config.channel import ChannelConfig
from engine.config.reading.values import Model, Texts
from engine.config.sources.source import Source


class SharePart(Model):
    """Patients who have scanned the code of a counter, with their tokens: each is an HL7 v2 message (ADT^A04), which
    the routes of the channel send to the laboratory system."""

    transport: Literal["abdm"] = "abdm"
    """How messages come: from `abdm`, the site's destination of this kind."""

    link: Literal["whole"] = "whole"
    """`whole`: a message is written at once."""

    format: Literal["hl7v2"] = "hl7v2"
    """Content: `hl7v2`."""

    facilities: Texts = ()
    """The laboratories whose counters are meant, by their id at the gateway. By default all."""

    @property
    def place(self) -> str:
        return "ABDM"


class ShareSource(SharePart, Source):
    """Patients who share their profile at a counter, by ABDM."""

    preset = "abdm-share"


def share_of(channel: ChannelConfig) -> SharePart | None:
    """The source of a channel of patients at a counter; None: it has another one."""
    source: object = channel.source
    return source if isinstance(source, SharePart) else None
