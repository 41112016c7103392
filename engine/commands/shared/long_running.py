"""Commands that take long: a low priority beside a running daemon, and a line that shows their progress."""

import sys
import time
from typing import Self

import click

from engine.commands.shared.output import say
from engine.model.process.priority import give_way

LINE_EVERY_S = 10.0

gently_option = click.option("--gently", is_flag=True, help="At the lowest priority, beside other work.")


def be_gentle(gently: bool) -> None:
    """Lower the priority of this process, where requested."""
    if gently:
        give_way()


class Progress:
    """A line that is rewritten on a terminal, else one line in ten seconds."""

    def __init__(self) -> None:
        self.total = 0
        self._begin = self._said = time.monotonic()
        self._on_terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        self.total = total
        now = time.monotonic()
        if not self._on_terminal and now - self._said < LINE_EVERY_S:
            return
        self._said = now
        rate = done / max(now - self._begin, 0.001)
        left = (total - done) / max(rate, 0.001)
        text = f"{done}/{total} rows, {rate:.0f}/s, {left:.0f} s left"
        if self._on_terminal:
            click.echo(f"\r{text:<60}", err=True, nl=False)
        elif done < total:
            say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_terminal and self.total:
            click.echo(f"\r{'':<60}\r", err=True, nl=False)
