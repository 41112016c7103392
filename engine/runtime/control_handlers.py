"""The verbs of the control socket: for each the permissions it needs, its arguments, and the function of its work.

Where no daemon runs, a command calls the same functions itself (`RunningSite.running` is None then).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.access.accounts import Accounts
from engine.actions.admission import Admission
from engine.actions.control import Follower, Handler, Request
from engine.actions.corrections import undone
from engine.actions.edit import edit_message
from engine.actions.erase import erase_messages
from engine.actions.hold_decisions import dismiss_letters, reject_held, release_held
from engine.actions.pause_resume import VERBS, Switches, SwitchOrder, target_of
from engine.actions.replay import forget_replay, media_type_of, replay_documents, resume_replay
from engine.actions.reprocess import reprocess_messages
from engine.actions.retry import retry_letters
from engine.actions.set_aside import set_aside_delivery
from engine.actions.tell_apart import tell_patients_apart
from engine.actions.underway import Acts
from engine.model.actor import Actor
from engine.model.corrections import RowChange
from engine.model.errors import LabRelayError, RefusedError, UnreachableError
from engine.model.permissions import (
    ACTING,
    ADMINISTERING,
    CHANGING,
    EDITING,
    LOOKING,
    SEEING_PATIENTS,
    Permission,
)
from engine.model.search_keys import folded
from engine.monitoring.taps import STAGES
from engine.monitoring.todo import without_notes
from engine.processing.reprocessing import with_mapping
from engine.runtime.control_requests import (
    A,
    ActOnMessage,
    ActOnSelection,
    Backup,
    ContentsExported,
    ContentsShown,
    EntryDrop,
    EntryNote,
    EntrySnooze,
    Erase,
    Key,
    NewToken,
    NewUser,
    NoArguments,
    OneEntry,
    OneOperation,
    OneReplay,
    OneToken,
    PatientSearched,
    Replay,
    Reprocess,
    ResumedReplay,
    Retry,
    SetAside,
    Switch,
    TableRow,
    TableUndo,
    Tap,
    TapContents,
    Target,
    TellApart,
    UserChange,
    read,
)
from engine.runtime.correcting import Change, Correcting, Previews, look_to_json
from engine.store.journal import keys
from engine.store.lifecycle import key_rotation
from engine.store.operations import audit
from engine.views.corrections import CORRECTION
from engine.views.todo import TODO

if TYPE_CHECKING:
    from engine.config.load import Site
    from engine.runtime.app import App
    from engine.store.journal import Journal

ANSWER_S = 0.2  # who began a longer act asks again for its progress
WITHOUT_DAEMON_S = 86_400.0
KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # use of the key by a command -> its action
UNPACED = 100_000.0  # messages a second

Result = dict[str, Any]
T = TypeVar("T", bound=Tap)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSite:
    """The objects that the handlers work on.

    Attributes:
        accounts: users, their sessions, tokens.
        data: the data folder.
        loaded: the configuration in force; asked for at each use, since a reload replaces it.
        running: the daemon; None where a command has taken its place: then all is queued at once, and waited for.
        previews: of corrections, one at a time for all callers.
    """

    acts: Acts
    switches: Switches
    accounts: Accounts
    data: Path
    loaded: "Callable[[], Site]"
    running: "App | None" = None
    previews: Previews = field(default_factory=Previews)

    @property
    def journal(self) -> "Journal":
        return self.acts.journal

    @property
    def app(self) -> "App":
        if self.running is None:
            raise UnreachableError("no daemon runs")
        return self.running


async def _status(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    shown = site.app.observer.snapshot()
    return (shown if request.reads_notes else shown.without_notes()).to_json()


async def _reload(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    before = site.app.parts.built.site.hash
    loaded = await site.app.reload()
    await site.journal.run(audit.note, request.actor, "reload", {"from": before, "to": loaded.hash})
    return {"config_hash": loaded.hash, "changed": loaded.hash != before, "warnings": list(loaded.warnings)}


def _on_selection(
    act: Callable[..., Awaitable[Result]],
) -> Callable[[RunningSite, Request, ActOnSelection], Awaitable[Result]]:
    async def work(site: RunningSite, request: Request, asked: ActOnSelection) -> Result:
        return await act(
            site.acts,
            asked.selection,
            actor=request.actor,
            reason=asked.why,
            dry_run=asked.dry_run,
            within_s=_within_s(site),
        )

    return work


async def _retry(site: RunningSite, request: Request, asked: Retry) -> Result:
    return await retry_letters(
        site.acts,
        asked.selection,
        actor=request.actor,
        reason=asked.why,
        overwrite=asked.overwrite,
        dry_run=asked.dry_run,
        within_s=_within_s(site),
    )


async def _cancel(site: RunningSite, request: Request, asked: OneOperation) -> Result:
    cancelled = await site.acts.operations.cancel(asked.number, actor=request.actor)
    return {"operation": cancelled.number, "left": cancelled.total - cancelled.position}


async def _tell_apart(site: RunningSite, request: Request, asked: TellApart) -> Result:
    return await tell_patients_apart(
        site.acts, asked.message, asked.answer, actor=request.actor, reason=asked.why, dry_run=asked.dry_run
    )


async def _edit(site: RunningSite, request: Request, asked: ActOnMessage) -> Result:
    return await edit_message(
        site.acts, asked.message, request.content, actor=request.actor, reason=asked.why, dry_run=asked.dry_run
    )


async def _set_aside(site: RunningSite, request: Request, asked: SetAside) -> Result:
    return await set_aside_delivery(
        site.acts, asked.message, asked.destination or "", actor=request.actor, reason=asked.why, dry_run=asked.dry_run
    )


async def _erase(site: RunningSite, request: Request, asked: Erase) -> Result:
    return await erase_messages(
        site.acts, asked.messages, asked.numbers, actor=request.actor, reason=asked.reason, more=asked.more
    )


async def _replay(site: RunningSite, request: Request, asked: Replay) -> Result:
    return await replay_documents(
        site.acts,
        asked.selection,
        actor=request.actor,
        reason=asked.why,
        to=asked.to or "",
        takes=media_type_of(site.loaded(), asked.to) if asked.to else "",
        rate=asked.rate,
        dry_run=asked.dry_run,
        within_s=_within_s(site),
    )


async def _replay_resume(site: RunningSite, request: Request, asked: ResumedReplay) -> Result:
    within_s = _within_s(site)
    return await resume_replay(site.acts, asked.number, actor=request.actor, rate=asked.rate, within_s=within_s)


def _within_s(site: RunningSite) -> float:
    return WITHOUT_DAEMON_S if site.running is None else ANSWER_S


async def _replay_status(site: RunningSite, request: Request, asked: OneReplay) -> Result:
    return site.acts.replays.progress(asked.number)


async def _replay_stop(site: RunningSite, request: Request, asked: OneReplay) -> Result:
    return await site.acts.replays.halt(asked.number)


async def _replay_forget(site: RunningSite, request: Request, asked: OneReplay) -> Result:
    return await forget_replay(site.acts, asked.number, actor=request.actor)


async def _reprocess(site: RunningSite, request: Request, asked: Reprocess) -> Result:
    loaded, routes, named = site.loaded(), _known(site.acts.channels(), asked.selection.channel), ""
    if not loaded.hash.startswith(asked.config_hash):
        raise RefusedError(
            "the daemon runs a different configuration from that of the differences: give "
            "`labrelay reload`, and look at them again"
        )
    if asked.mapping is not None:
        routes, program = await asyncio.to_thread(with_mapping, loaded, routes, asked.mapping)
        if program.content_hash != asked.mapping_hash:
            raise RefusedError(f"{asked.mapping} has changed since the differences were made; look at them again")
        named = f"{program.name}@{program.content_hash[:12]}"
    return await reprocess_messages(
        site.acts,
        asked.selection,
        routes=routes,
        config=loaded.hash[:12],
        actor=request.actor,
        reason=asked.reason,
        mapping=named,
        rate=UNPACED if site.running is None else asked.rate,  # without the daemon nothing is sent yet
    )


async def _table_set(site: RunningSite, request: Request, asked: TableRow) -> Result:
    change = RowChange(
        channel=asked.channel, table=asked.table, key=asked.where, cells=asked.cells, reason=asked.why.strip()
    )
    return await _corrected(site, request, asked, lambda made: change)


async def _table_undo(site: RunningSite, request: Request, asked: TableUndo) -> Result:
    return await _corrected(site, request, asked, lambda made: undone(made, asked.correction, asked.why.strip()))


async def _corrected(site: RunningSite, request: Request, asked: TableRow | TableUndo, change: Change) -> Result:
    correcting = Correcting(site.journal, site.loaded, site.running, site.previews)
    if asked.dry_run:
        return look_to_json(*await correcting.look(change))
    if asked.version is None:
        raise RefusedError("give the version of the corrections that you have seen: a dry run says it")
    made = await correcting.make(change, request.actor, version=asked.version)
    return {name: value for name, value in CORRECTION.row(made).items() if name != "at"}


async def _backup(site: RunningSite, request: Request, asked: Backup) -> Result:
    keeper = site.app.backup
    if asked.do != "state":
        keeper.ask(asked.do)
    said = keeper.snapshot()
    return {"busy": keeper.is_busy, "running": said.running, "fault": said.fault}


async def _prune(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    site.journal.upkeep.walk_now()
    return {}


async def _shown(site: RunningSite, request: Request, asked: ContentsShown) -> Result:
    """A person is about to see contents; recorded before they do."""
    await site.journal.run(audit.note, request.actor, "unmask", {"message": asked.message, "purpose": asked.purpose})
    return {}


async def _searched(site: RunningSite, request: Request, asked: PatientSearched) -> Result:
    """A person is about to learn whether a patient was here. The row has the keyed hash: two for one number agree."""
    token = site.journal.vault.search_token("patient", folded(asked.number)).hex()
    await site.journal.run(audit.note, request.actor, "search", {"patient_token": token})
    return {}


async def _exported(site: RunningSite, request: Request, asked: ContentsExported) -> Result:
    await site.journal.run(audit.note, request.actor, "unmask", {"export": asked.what, "purpose": asked.purpose})
    return {}


async def _key(site: RunningSite, request: Request, asked: Key) -> Result:
    if asked.step == "rotate":
        return asdict(await keys.rotate(site.journal, site.data, actor=request.actor, discard_old=asked.discard_old))
    if asked.step == "confirm":
        await site.journal.run(key_rotation.confirm_sheet, actor=request.actor)
    else:
        await site.journal.run(audit.note, request.actor, KEY_ACTS[asked.step], {"key": asked.key})
    return {}


async def _user_add(site: RunningSite, request: Request, asked: NewUser) -> Result:
    user = await site.accounts.users.add(
        asked.name, asked.role, asked.password, by=request.actor, sees_patients=asked.sees_patients
    )
    site.accounts.set_up.withdraw()
    return {"user": user.name}


async def _user_change(site: RunningSite, request: Request, asked: UserChange) -> Result:
    users, by = site.accounts.users, request.actor
    name = (await users.named(asked.name)).name
    match asked.do:
        case "role":
            await users.set_role(name, asked.value, by=by)
        case "see-patients":
            await users.let_see_patients(name, asked.value == "on", by=by)
        case "password":
            await users.set_password(name, asked.value, by=by)
        case "second-factor-off":
            await users.drop_second_factor(name, by=by)
        case "disable" | "enable":
            await users.disable(name, asked.do == "disable", by=by)
        case "remove":
            await users.remove(name, by=by)
    return {"user": name}


async def _token_add(site: RunningSite, request: Request, asked: NewToken) -> Result:
    permissions = frozenset(asked.permissions)
    secret = await site.accounts.tokens.create(asked.name, permissions, ends_us=asked.ends_us, by=request.actor)
    return {"token": asked.name, "secret": secret}


async def _token_revoke(site: RunningSite, request: Request, asked: OneToken) -> Result:
    await site.accounts.tokens.revoke(asked.name, by=request.actor)
    return {"token": asked.name}


async def _switch(site: RunningSite, request: Request, asked: Switch) -> Result:
    order = SwitchOrder(request.verb, target_of(asked.kind, asked.name), request.actor, asked.reason)
    return await site.switches.carry_out(order, site.loaded(), dry_run=asked.dry_run)


async def _underway(site: RunningSite, request: Request, asked: Target) -> Result:
    return await asyncio.to_thread(site.switches.underway, target_of(asked.kind, asked.name))


async def _todo(site: RunningSite, request: Request, asked: NoArguments) -> Result:
    found = await site.app.todo.look()
    return {"todo": TODO.rows(found if request.reads_notes else map(without_notes, found))}


async def _todo_take(site: RunningSite, request: Request, asked: OneEntry) -> Result:
    return _kept(*await site.app.todo.take(asked.key, request.actor))


async def _todo_note(site: RunningSite, request: Request, asked: EntryNote) -> Result:
    return _kept(*await site.app.todo.annotate(asked.key, request.actor, asked.text))


async def _todo_snooze(site: RunningSite, request: Request, asked: EntrySnooze) -> Result:
    return _kept(*await site.app.todo.snooze(asked.key, request.actor, asked.reason, asked.seconds))


async def _todo_drop(site: RunningSite, request: Request, asked: EntryDrop) -> Result:
    return _kept(*await site.app.todo.drop(asked.key, request.actor, asked.only))


def _kept(key: str, act: int | None) -> Result:
    return {"key": key, "act": act}


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb.

    Attributes:
        needs: all permissions of those who may give it.
        arguments: their model.
    """

    needs: frozenset[Permission]
    arguments: type[NoArguments]
    work: Callable[[RunningSite, Request], Awaitable[Result]]


def _verb(
    needs: frozenset[Permission], model: type[A], work: Callable[[RunningSite, Request, A], Awaitable[Result]]
) -> Verb:
    async def handle(site: RunningSite, request: Request) -> Result:
        return await work(site, request, read(model, request))

    return Verb(needs, model, handle)


HANDLERS: dict[str, Verb] = {
    "status": _verb(LOOKING, NoArguments, _status),
    "reload": _verb(CHANGING, NoArguments, _reload),
    "retry": _verb(ACTING, Retry, _retry),
    "dismiss": _verb(ACTING, ActOnSelection, _on_selection(dismiss_letters)),
    "release": _verb(ACTING, ActOnSelection, _on_selection(release_held)),
    "reject": _verb(ACTING, ActOnSelection, _on_selection(reject_held)),
    "operation_cancel": _verb(ACTING, OneOperation, _cancel),
    "tell_apart": _verb(ACTING, TellApart, _tell_apart),
    "edit": _verb(EDITING, ActOnMessage, _edit),
    "set_aside": _verb(ACTING, SetAside, _set_aside),
    "erase": _verb(ADMINISTERING, Erase, _erase),
    "replay": _verb(ACTING, Replay, _replay),
    "replay_resume": _verb(ACTING, ResumedReplay, _replay_resume),
    "replay_status": _verb(LOOKING, OneReplay, _replay_status),
    "replay_stop": _verb(ACTING, OneReplay, _replay_stop),
    "replay_forget": _verb(ACTING, OneReplay, _replay_forget),
    "reprocess": _verb(CHANGING, Reprocess, _reprocess),
    "table_set": _verb(CHANGING, TableRow, _table_set),
    "table_undo": _verb(CHANGING, TableUndo, _table_undo),
    "prune": _verb(ADMINISTERING, NoArguments, _prune),
    "backup": _verb(ADMINISTERING, Backup, _backup),
    "shown": _verb(SEEING_PATIENTS, ContentsShown, _shown),
    "searched": _verb(SEEING_PATIENTS, PatientSearched, _searched),
    "exported": _verb(SEEING_PATIENTS, ContentsExported, _exported),
    "key": _verb(ADMINISTERING, Key, _key),
    "user_add": _verb(ADMINISTERING, NewUser, _user_add),
    "user_change": _verb(ADMINISTERING, UserChange, _user_change),
    "token_add": _verb(ADMINISTERING, NewToken, _token_add),
    "token_revoke": _verb(ADMINISTERING, OneToken, _token_revoke),
    **{verb: _verb(ACTING, Switch, _switch) for verb in VERBS},
    "underway": _verb(LOOKING, Target, _underway),
    "todo": _verb(LOOKING, NoArguments, _todo),
    "todo_take": _verb(ACTING, OneEntry, _todo_take),
    "todo_note": _verb(ACTING, EntryNote, _todo_note),
    "todo_snooze": _verb(ACTING, EntrySnooze, _todo_snooze),
    "todo_drop": _verb(ACTING, EntryDrop, _todo_drop),
}


@dataclass(frozen=True, slots=True)
class Followed:
    """A verb with a stream of items; ``needs`` as `Verb` has them."""

    needs: frozenset[Permission]
    items: Callable[["App", Request], AsyncGenerator[dict[str, Any], None]]


def handlers(app: "App", acts: Acts, switches: Switches) -> dict[str, Handler]:
    """The verbs with one answer, for the control socket and the API."""
    data = app.parts.built.site.config.data
    site = RunningSite(
        acts=acts,
        switches=switches,
        accounts=app.accounts,
        data=data,
        loaded=lambda: app.parts.built.site,
        running=app,
    )
    return {name: partial(verb.work, site) for name, verb in HANDLERS.items()}


def followers(app: "App") -> dict[str, Follower]:
    """The verbs with a stream of items on the control socket."""
    return {name: partial(verb.items, app) for name, verb in FOLLOWERS.items()}


def admission(app: "App") -> Admission:
    """Who may give these verbs: the roles of the configuration in force."""

    async def note(actor: Actor, what: dict[str, Any]) -> None:
        await app.journal.run(audit.note, actor, "refused", what)

    return Admission(NEEDS, lambda: app.parts.built.site.config.access.system_users, note)


async def _tap(app: "App", request: Request) -> AsyncGenerator[dict[str, Any], None]:
    asked = _tapped(app, request, Tap)
    async with aclosing(app.parts.taps.follow(asked.channel, asked.stages, unmask=False)) as lines:
        async for line in lines:
            yield line


async def _tap_contents(app: "App", request: Request) -> AsyncGenerator[dict[str, Any], None]:
    asked = _tapped(app, request, TapContents)
    what = {"export": {"tap": asked.channel, "stages": asked.stages}, "purpose": asked.purpose}
    act = await app.journal.run(audit.begin, request.actor, "unmask", what)
    shown: set[int] = set()
    try:
        async with aclosing(app.parts.taps.follow(asked.channel, asked.stages, unmask=True)) as lines:
            async for line in lines:
                if "message" in line:
                    shown = {min(shown | {line["message"]}), max(shown | {line["message"]})}
                yield line
    finally:
        await app.journal.run(audit.end, act, {"first": min(shown, default=None), "last": max(shown, default=None)})


def _tapped(app: "App", request: Request, model: type[T]) -> T:
    asked = read(model, request)
    _known(app.parts.built.channels, asked.channel)
    if not set(asked.stages) <= set(STAGES):
        raise LabRelayError(f"stages are some of {', '.join(STAGES)}")
    return asked


FOLLOWERS: dict[str, Followed] = {
    "tap": Followed(LOOKING, _tap),
    "tap_contents": Followed(SEEING_PATIENTS, _tap_contents),
}
NEEDS = {name: verb.needs for name, verb in HANDLERS.items()} | {name: verb.needs for name, verb in FOLLOWERS.items()}

C = TypeVar("C")


def _known(channels: Mapping[str, C], name: str | None) -> C:
    if name is None or name not in channels:
        raise LabRelayError(f"there is no channel {name}; known: {', '.join(channels)}")
    return channels[name]
