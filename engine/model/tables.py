"""Tables that ship as text files beside the code: read here, so that codecs touch no file.

A line that begins with ``#`` is a comment.
"""

from pathlib import Path


def table_lines(module: str, name: str) -> list[str]:
    """The lines of the file ``name`` beside ``module`` (its ``__file__``), without comments and empty lines."""
    text = (Path(module).parent / name).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line and not line.startswith("#")]
