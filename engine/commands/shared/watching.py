"""Follow an operation on many messages to its end, and say how far it is meanwhile."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import on_terminal, say
from engine.commands.shared.session import Session
from engine.model.errors import LabRelayError, UnreachableError

if TYPE_CHECKING:
    from engine.store.operations.bulk import Operation

LOOKS_S = (0.05, 0.1, 0.25, 0.5, 1.0)  # between two looks, longer each time
LINE_EVERY_S = 10.0  # where there is no terminal


def followed(session: Session, begun: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to an act once its operation has ended. Ctrl-C ends the watching; the operation goes on."""
    if not begun["going_on"]:
        return dict(begun)
    number = begun["operation"]
    try:
        order = _ended(session, number)
    except (KeyboardInterrupt, UnreachableError) as cause:
        away = "" if isinstance(cause, KeyboardInterrupt) else " once a daemon runs"
        say(
            f"it goes on{away}; how far it is: labrelay operations show {number}; labrelay operations cancel {number} "
            "ends it"
        )
        raise
    return {**begun, "done": dict(order.outcomes), "going_on": False, "stage": order.stage}


def _ended(session: Session, number: int) -> "Operation":
    from engine.store.queries.bulk import operation_if

    bar, last, looks = on_terminal(), time.monotonic(), 0
    with session.reader() as reader:
        while True:
            order = operation_if(reader, number)
            if order is None:
                raise LabRelayError(f"operation {number} is not kept any more; labrelay audit list has its end")
            if order.stage != "running":
                if bar:
                    click.echo("\r\x1b[K", nl=False, err=True)
                return order
            if bar or time.monotonic() - last >= LINE_EVERY_S:
                last = time.monotonic()
                text = f"{order.position}/{order.total}{_waits(session, number)}"
                click.echo(f"\r{text}\x1b[K" if bar else text, nl=not bar, err=True)
            time.sleep(LOOKS_S[min(looks, len(LOOKS_S) - 1)])
            looks += 1


def _waits(session: Session, number: int) -> str:
    """Why an operation waits just now, for the end of a line."""
    try:
        waits = session.call("operation_waits", {"number": number})["waits"]
    except TimeoutError:
        return ""
    return f"; waits: {waits}" if waits else ""
