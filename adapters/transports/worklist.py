"""The transport of a source without a line: its messages are changes of the worklist
(`engine.features.orders.exchange.service`)."""

from engine.model.ports import StreamHandler


def build(source: object, handler: StreamHandler) -> "Worklist":
    """The transport of a source of kind ``order-status``."""
    return Worklist()


class Worklist:
    """Open as soon as it is started, and never troubled."""

    fault = ""

    async def start(self) -> int:
        return 0

    async def stop(self, grace_s: float = 3.0) -> None:
        """There is nothing to end."""
