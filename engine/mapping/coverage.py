"""Which rules of a mapping ran: the lines of its generated code, watched while tests run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from engine.mapping.message_context import GENERATED


@contextmanager
def recording(ran: set[int]) -> Iterator[None]:
    """Add the numbers of the lines of generated code that run inside the block."""

    def line(frame: FrameType, event: str, _argument: Any) -> Any:
        ran.add(frame.f_lineno)
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename == GENERATED else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)
