"""The parts of a ``source:`` block for messages that are JSON, or a text format of the analyzer's own with a layout.

source: {kind: text, listen: "0.0.0.0:4001", layout: biomerieux-minividas}
source: {kind: text-serial, device: /dev/ttyS0, baud: 4800, layout: biomerieux-minividas}
"""

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from engine.config.layouts import layout_files, load_layout
from engine.config.reading.values import Model, Words
from engine.model.texts.spelling import did_you_mean

READS_AS = "astm"  # what mappings see: the records that an analyzer that speaks E1394 would have sent


@dataclass(frozen=True, slots=True)
class LayoutFile:
    """A layout by its name, and where it is.

    Attributes:
        content: SHA-256 of the file: a channel whose layout has changed has another source than before, for a reload.
    """

    name: str
    path: Path
    content: bytes = b""


def _layout(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    known = layout_files(folder)
    if value not in known:
        hint = did_you_mean(value, known) or f"write layouts/{value}.yaml, or use {' or '.join(known)}"
        raise ValueError(f"no layout has this name; {hint}")
    try:
        content = sha256(known[value].read_bytes()).digest()
    except OSError:
        content = b""  # reading it will say so
    return LayoutFile(value, known[value], content)


LayoutName = Annotated[LayoutFile, BeforeValidator(_layout), Words("name of a layout")]


class TextPart(Model):
    """Texts between start and end bytes, as a layout says."""

    layout: LayoutName
    """The layout that describes its texts: a file of `layouts/`, or the `layout.yaml` of a pack."""

    link: Literal["text"] = "text"
    """Framing and link acknowledgement: `text`."""

    format: Literal["text"] = "text"
    """Content: `text`."""

    @property
    def reads_as(self) -> str:
        return READS_AS

    @cached_property
    def text_layout(self) -> Any:
        """The layout itself, read once.

        Raises:
            ConfigError: all that is wrong with it.
        """
        return load_layout(self.layout.path, self.layout.name)


JSON_PATH = re.compile(r"\$(\.[A-Za-z_][A-Za-z0-9_]*|\[\d{1,6}\]|\['[^'\\]{1,200}'\])+")


def _json_path(text: str) -> str:
    if not JSON_PATH.fullmatch(text):
        raise ValueError("expected a path, as $.payload.id or $.items[0]['unit price']")
    return text


JsonPath = Annotated[str, AfterValidator(_json_path), Words("path")]


class JsonPart(Model):
    """How JSON is read."""

    control_id: JsonPath | None = None
    """With `format: json`: path of the number by which the sender knows the message, as `$.event.id`. It is the
    control id, by which a repeat is known."""

    message_type: JsonPath | None = None
    """With `format: json`: path of the kind of the message, as `$.event`. Name one that has a code and never a person:
    lists, logs, topics, events and webhooks have it. A text with seven digits is none."""

    @model_validator(mode="after")
    def _paths_fit(self) -> Self:
        if getattr(self, "format", "") != "json" and (self.control_id or self.message_type):
            raise PydanticCustomError("json", "control_id and message_type are for format: json; take them out")
        return self
