"""Preconditions of updates: the server's version must be the one that we wrote last; see `engine.model.versions`."""

import asyncio
from typing import TYPE_CHECKING

from engine.model.message import Delivery
from engine.model.packing import unpack
from engine.model.versions import Versions, conditioned, worth_keeping, written
from engine.store.queries.versions import known_versions, shown_versions

if TYPE_CHECKING:
    from engine.store.journal import Journal

MEMORY_VERSIONS = 20_000  # of resources whose version may not be committed yet; far more than can be under way


class Conditions:
    """The versions that one destination has of our resources, for ``conflicts: check``."""

    def __init__(self, destination: str, journal: "Journal") -> None:
        self._destination = destination
        self._journal = journal
        self._versions: dict[str, str] = {}  # of resources written recently, oldest first

    async def put_on(self, delivery: Delivery) -> Delivery:
        """Add the condition to a delivery: the server must have our last version.

        Where a person has decided to replace the server's version, the condition is the version that they were shown:
        their decision does not cover later ones.
        """
        shown: dict[str, str] = {}
        if delivery.unconditional:
            shown = await asyncio.to_thread(shown_versions, self._journal, delivery.id)
            if not shown:
                return delivery
        try:
            body = unpack(delivery.body) if delivery.packed else delivery.body
        except ValueError:
            return delivery  # the destination finds the same damage and reports it
        resources = written(body)
        known = {one: self._versions[one] for one in resources if one in self._versions}
        if unknown := [one for one in resources if one not in known]:
            # Uncommitted versions are known here; so a read is enough, and nothing waits for the writer.
            known |= await asyncio.to_thread(known_versions, self._journal, self._destination, unknown)
        known = {one: version for one, version in (known | shown).items() if version}
        return delivery.with_body(conditioned(body, known)) if known else delivery

    def remember(self, versions: Versions) -> None:
        """Store the versions that the server has now."""
        for resource, version in worth_keeping(versions):
            self._versions.pop(resource, None)
            self._versions[resource] = version
        while len(self._versions) > MEMORY_VERSIONS:
            del self._versions[next(iter(self._versions))]
