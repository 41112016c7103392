"""The part of a ``source:`` block for files in a watched folder.

source: {kind: folder, folder: /srv/elisa/out, pattern: "*.csv", layout: my-elisa-reader}
source: {kind: folder, folder: /srv/his/out, format: hl7v2, marker: .ok}
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.layouts import load_layout
from engine.config.reading.values import Duration, FilePath, Model, Text
from engine.config.sources.source_text import READS_AS, LayoutName


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
