"""What is known of other servers: the last version of each of our resources there, and the resources that were polled.

Our versions are for destinations with `conflicts: check`: written in the transaction that settles the delivery, and
read by the next delivery that writes the same resource; the destination's worker has uncommitted ones in memory. Each
row is a few bytes under a keyed hash, kept for 90 days and swept in steps; a resource that is corrected later than that
is written without a condition.

Each version of a polled resource becomes one message, once. The message and the note of its version are one
transaction, so that a kill takes none twice and loses none. A version that is older than the one taken last, by time
and by number, is never taken: a server may answer from a copy that lags behind. One of the two alone proves nothing: a
clock may be set back, and a restored server counts from before. A row is kept for 90 days, and the search goes back
less far than that (`adapters.transports.fhir_search`); one of a resource without a time is kept for good.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from engine.model.message import Received, Stored
from engine.model.ports import PollCursor, PolledVersion
from engine.model.values import changed
from engine.model.versions import worth_keeping
from engine.store.core.connecting import Execute
from engine.store.core.vault import Vault
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import append
from engine.store.operations.dedup import REPORT_MEMORY_US

_KIND = b"server-version"


def remember(batch: Batch, destination: str, versions: Iterable[tuple[str, str]]) -> None:
    """Store the versions that the server answered."""
    until_us = batch.now_us + REPORT_MEMORY_US
    batch.executemany(
        "INSERT OR REPLACE INTO server_version (resource, version, until_us) VALUES (?, ?, ?)",
        [
            (_key(batch.vault, destination, resource), version, until_us)
            for resource, version in worth_keeping(versions)
        ],
    )


def look_up(execute: Execute, vault: Vault, destination: str, resources: Sequence[str]) -> dict[str, str]:
    """The known versions, by resource."""
    found = {}
    for resource in resources:
        row = execute(
            "SELECT version FROM server_version WHERE resource = ?", (_key(vault, destination, resource),)
        ).fetchone()
        if row is not None:
            found[resource] = row[0]
    return found


def _key(vault: Vault, destination: str, resource: str) -> bytes:
    return vault.past_key(_KIND, destination.encode(), resource.encode())


_RESOURCE, _VERSION, _KEYED = b"polled", b"polled-version", b"polled-key"


@operation(priority=Priority.RECEIVE, size=lambda received, polled: len(received.payload))
def store_polled(batch: Batch, received: Received, polled: PolledVersion) -> Stored:
    """Journal a version that was not taken before. The same bytes are no repeat: `is_old` has judged that."""
    batch.execute(
        "INSERT OR REPLACE INTO polled (resource, version, updated_us, number, until_us) VALUES (?, ?, ?, ?, ?)",
        (
            _resource(batch.vault, received.channel, polled),
            _version(batch.vault, received.channel, polled),
            polled.updated_us,
            polled.number,
            batch.now_us + REPORT_MEMORY_US if polled.updated_us else 0,
        ),
    )
    alone = changed(received, line=None)
    if not polled.key:
        return append.store_message(batch, alone, repeat_window_s=0.0)
    resource, content = _keyed(batch.vault, received, polled)
    row = batch.execute("SELECT version, number FROM polled WHERE resource = ?", (resource,)).fetchone()
    if row is not None and row[0] == content:
        return append.store_repeat(batch, alone, row[1])
    stored = append.store_message(batch, alone, repeat_window_s=0.0)
    batch.execute(
        "INSERT OR REPLACE INTO polled (resource, version, updated_us, number, until_us) VALUES (?, ?, 0, ?, ?)",
        (resource, content, stored.id, batch.now_us + REPORT_MEMORY_US),
    )
    return stored


@operation(priority=Priority.SETTLE)
def move_cursor(batch: Batch, channel: str, cursor: PollCursor) -> None:
    """Remember how far a channel has read its server."""
    batch.execute(
        "INSERT OR REPLACE INTO poll_cursor (channel, begin_us, reached_us) VALUES (?, ?, ?)",
        (channel, cursor.begin_us, cursor.reached_us),
    )


def taken_number(execute: Execute, vault: Vault, channel: str, resource: str) -> int:
    """As `engine.model.ports.PollMemory.number`."""
    key = vault.past_key(_RESOURCE, channel.encode(), resource.encode())
    row = execute("SELECT number FROM polled WHERE resource = ?", (key,)).fetchone()
    return int(row[0]) if row is not None else 0


def is_old(execute: Execute, vault: Vault, channel: str, polled: PolledVersion) -> bool:
    """As `engine.model.ports.PollMemory.is_old`."""
    row = execute(
        "SELECT version, updated_us, number FROM polled WHERE resource = ?", (_resource(vault, channel, polled),)
    ).fetchone()
    if row is None:
        return False
    version, updated_us, number = row
    counts_on = 0 < number < polled.number
    return bool(version == _version(vault, channel, polled) or (0 < polled.updated_us < updated_us and not counts_on))


def _keyed(vault: Vault, received: Received, polled: PolledVersion) -> tuple[bytes, bytes]:
    """Where a key is remembered, and the content that came under it: other bytes are no repeat."""
    key = vault.past_key(_KEYED, received.channel.encode(), polled.key.encode())
    return key, vault.past_key(_KEYED, sha256(received.payload).digest())


def _resource(vault: Vault, channel: str, polled: PolledVersion) -> bytes:
    return vault.past_key(_RESOURCE, channel.encode(), polled.resource.encode())


def _version(vault: Vault, channel: str, polled: PolledVersion) -> bytes:
    return vault.past_key(_VERSION, channel.encode(), polled.resource.encode(), polled.version.encode())
