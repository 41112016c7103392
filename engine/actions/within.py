"""Acts as persons of some channels give them: on what these channels have, and on nothing else.

The arguments of an act that name what it is about are marked (`engine.actions.declaring.Names`). One that names another
channel's thing is answered as one that names nothing there is, and is a row of the audit trail. An act without such an
argument is of the whole site.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from engine.actions.admission import Refusals
from engine.actions.control import Request
from engine.actions.declaring import CHANNEL, ENTRY, NOTHING, PLACE, SELECTED, Act, Verb
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
        own = {name: act for name, act in all_acts().items() if act.about or act.shows}
        return {
            name: replace(verb, needs=verb.needs if name in own else ALL, work=partial(self._give, own.get(name), verb))
            for name, verb in verbs.items()  # no button is shown for what needs all
        }

    async def _give(self, act: Act | None, verb: Verb, request: Request) -> Result:
        if act is None:
            return await self._refuse(request, RefusedError(NOT_HERE))
        args = dict(request.args)
        for argument, what in act.about.items():
            if what == SELECTED:
                if isinstance(selection := args.get(argument), dict):  # else the act says what is wrong
                    args[argument] = {**selection, "channels": sorted(self.journal.channels)}
            elif what != NOTHING and not await self._has(what, args.get(argument), args):
                await self._refuse(request, AbsentError(f"there is no such {argument}"))
        try:
            result = await verb.work(replace(request, args=args))
        except LabRelayError as error:
            if any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in self.others()):
                raise RefusedError(NOT_HERE) from None
            raise
        theirs = [row for row in result.get(act.shows, ()) if row["subject"] in self.journal.channels]
        return {**result, act.shows: theirs} if act.shows else result

    async def _has(self, what: str, value: object, args: Mapping[str, Any]) -> bool:
        theirs = self.journal.channels
        if what == PLACE:
            return {"channel": str(value), "lane": str(value).partition("/")[0]}.get(str(args.get("kind"))) in theirs
        values = value if isinstance(value, list) else [value]
        if what == CHANNEL:
            return bool(values) and all(one in theirs for one in values)
        if what == ENTRY:
            return any(one.entry.key == value and one.entry.subject in theirs for one in await self.todo())
        table, _, column = what.partition(".")
        return all([await asyncio.to_thread(self.journal.has, table, column, one) for one in values])

    async def _refuse(self, request: Request, error: Exception) -> NoReturn:
        await self.refused.count(request.actor, request.verb, frozenset({"unit"}), request.actor)
        raise error
