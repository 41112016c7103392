"""Acts as persons of some channels give them: on what these channels have, and on nothing else.

An act says in `Act.about` which of its arguments name what it is about. One that names another channel's thing is
answered as one that names nothing there is, and is a row of the audit trail. An act that says nothing is of the whole
site.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.actions.admission import Refusals
from engine.actions.control import Request
from engine.actions.declaring import NOTHING, PLACE, SELECTED, Verb
from engine.actions.running_site import Result
from engine.actions.verbs import all_acts
from engine.model.errors import AbsentError, LabRelayError, RefusedError
from engine.model.site.permissions import ALL
from engine.model.texts.phrases import R_
from engine.store.queries.within import Within

NOT_HERE = R_("you may not do this. Please ask the person who administers LabRelay here")


@dataclass(frozen=True, slots=True)
class Narrowed:
    """
    Attributes:
        journal: of these channels.
        todo: their to-do list.
        others: names of channels and destinations that an answer does not have.
        refused: counts the requests that were refused.
    """

    journal: Within
    todo: Callable[[], Awaitable[Sequence[Any]]]
    others: Callable[[], Set[str]]
    refused: Refusals

    def verbs(self, verbs: Mapping[str, Verb]) -> dict[str, Verb]:
        about = {name: act.about.split() for name, act in all_acts().items()}
        return {
            name: replace(verb, needs=verb.needs if about[name] else ALL, work=partial(self._give, about[name], verb))
            for name, verb in verbs.items()  # no button is shown where it needs all
        }

    async def _give(self, about: list[str], verb: Verb, request: Request) -> Result:
        if not about:
            await self._refuse(request, RefusedError(NOT_HERE))
        args = dict(request.args)
        for argument, _, kind in (one.partition(":") for one in about):
            if argument == SELECTED:
                if isinstance(selection := args.get(argument), dict):  # else the act says what is wrong
                    args[argument] = {**selection, "channels": sorted(self.journal.channels)}
            elif argument != NOTHING and not await self._has(argument, kind, args):
                await self._refuse(request, AbsentError(f"there is no such {argument}"))
        try:
            return await verb.work(replace(request, args=args))
        except LabRelayError as error:
            if any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in self.others()):
                raise RefusedError(NOT_HERE) from None
            raise

    async def _has(self, argument: str, kind: str, args: Mapping[str, Any]) -> bool:
        value, theirs = args.get(argument), self.journal.channels
        if argument == PLACE:
            name = str(args.get("name"))
            return {"channel": name, "lane": name.partition("/")[0]}.get(str(args.get("kind"))) in theirs
        values = value if isinstance(value, list) else [value]
        if kind == "channel":
            return bool(values) and all(one in theirs for one in values)
        if kind == "entry":
            return any(one.entry.key == value and one.entry.subject in theirs for one in await self.todo())
        table, _, column = kind.partition(".")
        return all([await asyncio.to_thread(self.journal.has, table, column, one) for one in values])

    async def _refuse(self, request: Request, error: Exception) -> None:
        await self.refused.count(request.actor, request.verb, frozenset({"unit"}), request.actor)
        raise error
