"""Acts as persons of some channels give them: on what these channels have, and on nothing else.

An act says in `Act.about` which of its arguments name what it is about. One that names another channel's thing is
answered as one that names nothing there is, and is a row of the audit trail. An act that says nothing is of the whole
site.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.actions.admission import Refusals
from engine.actions.control import Request
from engine.actions.declaring import NOTHING, Verb
from engine.actions.running_site import Result
from engine.actions.verbs import all_acts
from engine.model.errors import AbsentError, LabRelayError, RefusedError
from engine.model.site.permissions import ALL
from engine.model.texts.phrases import R_
from engine.store.queries.within import Within

NOT_HERE = R_("you may not do this. Please ask the person who administers LabRelay here")


def _names(text: str) -> set[str]:
    return set(re.findall(r"[\w.-]+", text))


@dataclass(frozen=True, slots=True)
class Narrowed:
    """
    Attributes:
        keys: of the entries on the to-do list about these channels.
        others: names of channels and destinations that an answer does not have.
        refused: counts the requests that were refused.
    """

    journal: Within
    channels: frozenset[str]
    keys: Callable[[], Awaitable[Collection[str]]]
    others: Callable[[], Set[str]]
    refused: Refusals

    def verbs(self, verbs: Mapping[str, Verb]) -> dict[str, Verb]:
        acts = all_acts()
        return {
            name: replace(
                verb,
                needs=verb.needs if acts[name].about else ALL,  # no button is shown for it
                work=partial(self._give, acts[name].about.split(), verb),
            )
            for name, verb in verbs.items()
        }

    async def _give(self, about: list[str], verb: Verb, request: Request) -> Result:
        if not about:
            await self._refuse(request, RefusedError(NOT_HERE))
        args, shown = dict(request.args), ""
        for one in about:
            argument, _, kind = one.partition(":")
            if argument == "answer":
                shown = kind
            elif argument == "selection":
                if isinstance(selection := args.get(argument), dict):  # else the act says what is wrong
                    args[argument] = {**selection, "channels": sorted(self.channels)}
            elif argument != NOTHING and not await self._has(argument, kind, args):
                await self._refuse(request, AbsentError(f"there is no such {argument}"))
        try:
            result = await verb.work(replace(request, args=args))
        except LabRelayError as error:
            if _names(str(error)) & self.others():
                raise RefusedError(NOT_HERE) from None
            raise
        if shown:
            result = {**result, shown: [row for row in result[shown] if row["subject"] in self.channels]}
        return result

    async def _has(self, argument: str, kind: str, args: Mapping[str, Any]) -> bool:
        value = args.get(argument)
        if argument == "place":
            name = str(args.get("name"))
            return {"channel": name, "lane": name.partition("/")[0]}.get(str(args.get("kind"))) in self.channels
        values = value if isinstance(value, list) else [value]
        if kind == "channel":
            return bool(values) and all(one in self.channels for one in values)
        if kind == "entry":
            return value in await self.keys()
        table, _, column = kind.partition(".")
        return all([await asyncio.to_thread(self.journal.has, table, column, one) for one in values])

    async def _refuse(self, request: Request, error: Exception) -> None:
        await self.refused.count(request.actor, request.verb, frozenset({"unit"}), request.actor)
        raise error
