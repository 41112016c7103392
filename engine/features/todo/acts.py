"""Verbs for entries of the to-do list."""

from engine.actions.control import Request
from engine.actions.running_site import Result, RunningSite
from engine.features.todo.lists import TODO
from engine.features.todo.service.todo_list import TodoList
from engine.monitoring.todo import without_notes
from engine.runtime.control_requests import EntryDrop, EntryNote, EntrySnooze, NoArguments, OneEntry


async def listed(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    found = await site.app.service(TodoList).look()
    return {"todo": TODO.rows(found if request.reads_notes else map(without_notes, found))}


async def take(site: RunningSite, request: Request, asked: OneEntry) -> Result:
    return _kept(*await site.app.service(TodoList).take(asked.key, request.actor))


async def note(site: RunningSite, request: Request, asked: EntryNote) -> Result:
    return _kept(*await site.app.service(TodoList).annotate(asked.key, request.actor, asked.text))


async def snooze(site: RunningSite, request: Request, asked: EntrySnooze) -> Result:
    return _kept(*await site.app.service(TodoList).snooze(asked.key, request.actor, asked.reason, asked.seconds))


async def drop(site: RunningSite, request: Request, asked: EntryDrop) -> Result:
    return _kept(*await site.app.service(TodoList).drop(asked.key, request.actor, asked.only))


def _kept(key: str, act: int | None) -> Result:
    return {"key": key, "act": act}
