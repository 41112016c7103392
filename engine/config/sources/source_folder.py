"""The part of a ``source:`` block for files in a watched folder.

source: {kind: folder, folder: /srv/elisa/out, pattern: "*.csv", layout: my-elisa-reader}
source: {kind: folder, folder: /srv/his/out, format: hl7v2, marker: .ok}

The parts of a ``source:`` block for messages that are JSON, or a text format of the analyzer's own with a layout.

source: {kind: text, listen: "0.0.0.0:4001", layout: biomerieux-minividas}
source: {kind: text-serial, device: /dev/ttyS0, baud: 4800, layout: biomerieux-minividas}
"""

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from engine.config.layouts import layout_files, load_layout
from engine.config.reading.values import Duration, FilePath, Model, Text, Words
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


class FolderPart(Model):
    """Files in a folder: each is read once it is whole, and put away once its messages are durable."""

    transport: Literal["folder"] = "folder"
    """How bytes come: `folder`."""

    link: Literal["whole"] = "whole"
    """`whole`: a file is read at once, and moved."""

    format: Literal["text", "hl7v2", "astm", "json", "fhir"] = "text"
    """Content of the files: `text` as `layout` says (CSV too), `hl7v2`, or `astm`; one message or several in a file.
    `json` is an object or a list, `fhir` a resource as JSON; such a file is one message."""

    folder: FilePath
    """The folder to watch. It is not made: where it is missing, a share may be."""

    pattern: Text = "*"
    """Names of the files to take, as `"*.csv"`; upper and lower case are one. Hidden files and those that programs
    write under a name for unfinished ones (`.tmp`, `.part` ...) are never taken."""

    settle: Duration = Field(default=5.0, ge=0)
    """A file is whole once its size and time have not changed for this long. A transfer that stops for longer looks
    whole: use `marker` where the sender can, or have it write under `.tmp` and rename."""

    marker: str = ""
    """A file is whole once a second one of its name and this ending is there: with `.ok`, `x.csv` waits for
    `x.csv.ok`. Takes the place of `settle`, but for a file that is newer than its marker."""

    every: Duration = Field(default=2.0, ge=0.05, le=3600)
    """Time between looks at the folder."""

    finished: FilePath | None = None
    """Folder of the files that were taken, on the same file system; by default `finished` in `folder`. LabRelay
    deletes nothing in it."""

    failed: FilePath | None = None
    """Folder of the files that cannot be taken: larger than `max_message`, changed while they were read, ASTM
    without its last record. By default `failed` in `folder`."""

    layout: LayoutName | None = None
    """With `format: text`: the layout that describes the files, a file of `layouts/` or the `layout.yaml` of a pack."""

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def finished_folder(self) -> Path:
        return self.finished or self.folder / "finished"

    @property
    def failed_folder(self) -> Path:
        return self.failed or self.folder / "failed"

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.folder, self.finished_folder, self.failed_folder)

    @property
    def reads_as(self) -> str:
        return READS_AS if self.format == "text" else "json" if self.format == "fhir" else self.format

    @cached_property
    def text_layout(self) -> Any:
        """The layout itself, read once.

        Raises:
            ConfigError: all that is wrong with it.
        """
        assert self.layout is not None
        return load_layout(self.layout.path, self.layout.name)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.format == "text" and self.layout is None:
            raise PydanticCustomError(
                "folder", "format: text needs layout: the name of one, or give format: hl7v2, astm, json or fhir"
            )
        if self.format != "text" and self.layout is not None:
            raise PydanticCustomError("folder", "layout is for format: text; take one of them out")
        if "/" in self.marker or (self.marker and not self.marker.startswith((".", "-", "_"))):
            raise PydanticCustomError("folder", "marker is an ending, as .ok")
        if len(set(self.folders)) < 3:
            raise PydanticCustomError("folder", "folder, finished and failed are three folders; give each its own")
        return self
