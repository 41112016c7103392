"""The last known version of each of our resources on a server, for destinations with `conflicts: check`.

Written in the transaction that settles the delivery, and read by the next delivery that writes the same resource; the
destination's worker has uncommitted ones in memory. Each row is a few bytes under a keyed hash, kept for 90 days and
swept in steps; a resource that is corrected later than that is written without a condition.
"""

from collections.abc import Iterable, Sequence

from engine.model.versions import worth_keeping
from engine.store.core.rows import Execute
from engine.store.core.vault import Vault
from engine.store.core.writing.batch import Batch
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
