"""Run the `labrelay` command line in this process, as its users see it."""

import contextlib
import io
import json
import os
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


def labrelay(*arguments: str, site: Path | None = None) -> Ran:
    """Run ``labrelay [--site SITE] ARGUMENTS`` without a terminal."""
    given = ["--site", str(site), *arguments] if site is not None else list(arguments)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _no_terminal():
        code = run(given)
    return Ran(int(code), out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _no_terminal() -> Iterator[None]:
    before, sys.stdin = sys.stdin, open(os.devnull)  # noqa: SIM115 - closed below
    try:
        yield
    finally:
        sys.stdin.close()
        sys.stdin = before
