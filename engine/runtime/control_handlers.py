"""The verbs of the control socket: for each the permissions it needs, its arguments, and the function of its work.

The functions are in `engine.runtime.verbs`. Where no daemon runs, a command calls the same functions itself
(`RunningSite.running` is None then).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.actions.admission import Admission, system_users
from engine.actions.control import Follower, Handler, Request
from engine.actions.pause_resume import VERBS, Switches
from engine.actions.running_site import Result, RunningSite
from engine.actions.underway import Acts
from engine.features.abdm import acts as abdm
from engine.features.access import acts as people
from engine.features.alerts import acts as alerts
from engine.features.codes import acts as tables
from engine.features.orders import acts as orders
from engine.features.results.acts.hold_decisions import dismiss_letters, reject_held, release_held
from engine.features.rework.acts import replays
from engine.features.todo import acts as todo
from engine.model.actor import Actor
from engine.model.permissions import (
    ACTING,
    ADMINISTERING,
    CHANGING,
    EDITING,
    LOOKING,
    SEEING_PATIENTS,
    Permission,
)
from engine.runtime.control_requests import (
    A,
    AbdmContext,
    AbdmLink,
    AbdmResume,
    AbdmRetry,
    ActOnSelection,
    AlertsSent,
    AlertTaken,
    AlertTest,
    Backup,
    ContentsExported,
    ContentsShown,
    Edit,
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
    OneSilence,
    OneToken,
    OrderAdd,
    OrderChange,
    OrderFetch,
    OrderMatch,
    OrderShown,
    OrderWorklist,
    PatientSearched,
    Reload,
    Replay,
    Reprocess,
    Retry,
    SetAside,
    SilenceMade,
    Switch,
    TableRow,
    TableUndo,
    Target,
    TellApart,
    UserChange,
    read,
)
from engine.runtime.verbs import contents, messages, upkeep
from engine.store.operations import audit

if TYPE_CHECKING:
    from engine.runtime.app import App


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
    "status": _verb(LOOKING, NoArguments, upkeep.status),
    "reload": _verb(CHANGING, Reload, upkeep.reload),
    "retry": _verb(ACTING, Retry, messages.retry),
    "dismiss": _verb(ACTING, ActOnSelection, messages.on_selection(dismiss_letters)),
    "release": _verb(ACTING, ActOnSelection, messages.on_selection(release_held)),
    "reject": _verb(ACTING, ActOnSelection, messages.on_selection(reject_held)),
    "operation_cancel": _verb(ACTING, OneOperation, messages.cancel_operation),
    "operation_waits": _verb(LOOKING, OneOperation, messages.operation_waits),
    "tell_apart": _verb(ACTING, TellApart, messages.tell_apart),
    "edit": _verb(EDITING, Edit, messages.edit),
    "set_aside": _verb(ACTING, SetAside, messages.set_aside),
    "erase": _verb(ADMINISTERING, Erase, messages.erase),
    "replay": _verb(ACTING, Replay, replays.replay),
    "reprocess": _verb(CHANGING, Reprocess, replays.reprocess),
    "table_set": _verb(CHANGING, TableRow, tables.set_row),
    "table_undo": _verb(CHANGING, TableUndo, tables.undo),
    "prune": _verb(ADMINISTERING, NoArguments, upkeep.prune),
    "backup": _verb(ADMINISTERING, Backup, upkeep.backup),
    "shown": _verb(SEEING_PATIENTS, ContentsShown, contents.shown),
    "searched": _verb(SEEING_PATIENTS, PatientSearched, contents.searched),
    "exported": _verb(SEEING_PATIENTS, ContentsExported, contents.exported),
    "key": _verb(ADMINISTERING, Key, upkeep.key),
    "user_add": _verb(ADMINISTERING, NewUser, people.add_user),
    "user_change": _verb(ADMINISTERING, UserChange, people.change_user),
    "token_add": _verb(ADMINISTERING, NewToken, people.add_token),
    "token_revoke": _verb(ADMINISTERING, OneToken, people.revoke_token),
    **{verb: _verb(ACTING, Switch, upkeep.switch) for verb in VERBS},
    "underway": _verb(LOOKING, Target, upkeep.underway),
    "order_add": _verb(ACTING, OrderAdd, orders.add),
    "order_cancel": _verb(ACTING, OrderChange, orders.cancel),
    "order_release": _verb(ACTING, OrderChange, orders.release),
    "order_resend": _verb(ACTING, OrderChange, orders.resend),
    "order_fetch": _verb(ACTING, OrderFetch, orders.fetch),
    "order_match": _verb(ACTING, OrderMatch, orders.match),
    "order_unmatch": _verb(ACTING, OrderChange, orders.unmatch),
    "order_shown": _verb(SEEING_PATIENTS, OrderShown, orders.shown),
    "order_worklist": _verb(SEEING_PATIENTS, OrderWorklist, orders.worklist_sheets),
    "abdm_link": _verb(ACTING, AbdmLink, abdm.link),
    "abdm_withdraw": _verb(ACTING, AbdmContext, abdm.withdraw),
    "abdm_retry": _verb(ACTING, AbdmRetry, abdm.retry),
    "abdm_resume": _verb(ACTING, AbdmResume, abdm.resume),
    "todo": _verb(LOOKING, NoArguments, todo.listed),
    "todo_take": _verb(ACTING, OneEntry, todo.take),
    "todo_note": _verb(ACTING, EntryNote, todo.note),
    "todo_snooze": _verb(ACTING, EntrySnooze, todo.snooze),
    "todo_drop": _verb(ACTING, EntryDrop, todo.drop),
    "alerts": _verb(LOOKING, NoArguments, alerts.listed),
    "alert_sent": _verb(LOOKING, AlertsSent, alerts.sent),
    "alert_test": _verb(ACTING, AlertTest, alerts.test),
    "alert_acknowledge": _verb(ACTING, AlertTaken, alerts.acknowledge),
    "alert_silence": _verb(ACTING, SilenceMade, alerts.silence),
    "alert_unsilence": _verb(ACTING, OneSilence, alerts.unsilence),
}


@dataclass(frozen=True, slots=True)
class Followed:
    """A verb with a stream of items; ``needs`` as `Verb` has them."""

    needs: frozenset[Permission]
    items: Callable[["App", Request], AsyncGenerator[dict[str, Any], None]]


FOLLOWERS: dict[str, Followed] = {
    "tap": Followed(LOOKING, contents.tap),
    "tap_contents": Followed(SEEING_PATIENTS, contents.tap_contents),
}
NEEDS = {name: verb.needs for name, verb in HANDLERS.items()} | {name: verb.needs for name, verb in FOLLOWERS.items()}


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

    return Admission(NEEDS, lambda: system_users(app.parts.built.site.config), note)
