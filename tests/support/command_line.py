"""Run the `labrelay` command line in this process, as its users see it."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.__main__ import run


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def labrelay(*arguments: str, site: Path | None = None, given: str = "") -> Ran:
    """Run ``labrelay [--site SITE] ARGUMENTS`` without a terminal, with ``given`` on its standard input."""
    command_line = ["--site", str(site), *arguments] if site is not None else list(arguments)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _no_terminal(given):
        code = run(command_line)
    return Ran(int(code), out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _no_terminal(given: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO(given)
    try:
        yield
    finally:
        sys.stdin.close()
        sys.stdin = before
