"""What a flow of ABDM declares: the callbacks that it takes, and the calls that it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.rules.network import Call, Callback, GatewayAnswer
from engine.store.core.writing.batch import Batch

Handler = Callable[[Batch, AbdmDestination, Callback], str]
"""Makes state of a callback, in a transaction. Returns why nothing had to be done, or an empty text."""
Refused = Callable[[Batch, AbdmDestination, Callback], None]
"""What follows on a callback that is refused: its ``raw`` bytes may still say something. In the same transaction."""
Ended = Callable[[Batch, AbdmDestination, Call, GatewayAnswer], None]
"""What follows on the end of a call, in the transaction that ends it."""
Headers = Callable[[Batch, AbdmDestination, Call], Mapping[str, str] | None]
"""Headers of a call beside the usual; None: it must not go out, and was withdrawn or put off."""


def nothing_follows(batch: Batch, ours: AbdmDestination, call: Call, answer: GatewayAnswer) -> None:
    """Of a call whose result changes nothing here; the journal has it."""


def no_headers(batch: Batch, ours: AbdmDestination, call: Call) -> Mapping[str, str] | None:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKind:
    """A call to the gateway.

    Attributes:
        path: behind the gateway's address.
        names_facility: X-HIP-ID goes along.
        result: path of the callback that brings its result; empty: the answer is the result.
        late: follows on a result that comes after the call has failed.
    """

    name: str
    path: str
    method: str = "POST"
    names_facility: bool = False
    result: str = ""
    ended: Ended = nothing_follows
    late: Ended = nothing_follows
    headers: Headers = no_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Of one concern.

    Attributes:
        callbacks: path without ``/api`` -> handler; those that bring the result of a call are not among them.
        refused: such a path -> what follows where a callback cannot be used, or a fault of ours keeps it from being
            used. A callback of these paths is kept also where its body is no JSON.
    """

    callbacks: Mapping[str, Handler] = field(default_factory=dict)
    refused: Mapping[str, Refused] = field(default_factory=dict)
    calls: Sequence[CallKind] = ()
