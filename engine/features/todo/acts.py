"""Acts on entries of the to-do list."""

from typing import Literal

from engine.actions.control import Request
from engine.actions.declaring import Declared, EntryKey, Seconds, Why
from engine.actions.running_site import Result, RunningSite
from engine.features.todo.lists import TODO
from engine.features.todo.service import TodoList
from engine.model.site.permissions import ACTING, LOOKING
from engine.monitoring.todo import without_notes

ACTS = Declared(10)


@ACTS.act("todo", LOOKING, not_in_api="a resource", shows="todo")
async def listed(site: RunningSite, request: Request) -> Result:
    found = await site.service(TodoList).look()
    return {"todo": TODO.rows(found if request.reads_notes else map(without_notes, found))}


@ACTS.act("todo_take", ACTING, api="say that you do what waits there")
async def take(site: RunningSite, request: Request, *, key: EntryKey) -> Result:
    return _kept(*await site.service(TodoList).take(key, request.actor))


@ACTS.act("todo_note", ACTING, api="write a note to it")
async def note(site: RunningSite, request: Request, *, key: EntryKey, text: Why) -> Result:
    return _kept(*await site.service(TodoList).annotate(key, request.actor, text))


@ACTS.act("todo_snooze", ACTING, api="put it off")
async def snooze(site: RunningSite, request: Request, *, key: EntryKey, seconds: Seconds, reason: Why) -> Result:
    return _kept(*await site.service(TodoList).snooze(key, request.actor, reason, seconds))


@ACTS.act("todo_drop", ACTING, api="give it back")
async def drop(
    site: RunningSite, request: Request, *, key: EntryKey, only: Literal["taken", "note", "snooze"] | None = None
) -> Result:
    """``only``: one part of what is kept; None: all of it."""
    return _kept(*await site.service(TodoList).drop(key, request.actor, only))


def _kept(key: str, act: int | None) -> Result:
    return {"key": key, "act": act}
