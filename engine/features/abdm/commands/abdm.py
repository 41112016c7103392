"""ABDM, India's network of health records: look at reports and consents, act on them, or try one here.

`labrelay abdm status` shows whether all is well; `contexts`, `consents` and `transfers` are lists.
`labrelay abdm context` and `consent` show one in full.
With `labrelay abdm link`, `withdraw`, `retry` and `resume` a person decides about reports and consents.
`labrelay abdm preflight` looks whether the gateway takes our calls and its callbacks can come in.
`labrelay abdm sandbox` plays the network: its gateway, its consent manager, a reader of records and a patient's app.
docs/abdm.md says more.

Verbs of `labrelay abdm` that read: the state of each laboratory, care contexts, consents, requests for records.

They read the journal, with the daemon running or not. Patients are masked in all of them.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.commands.shared.completing import some_of
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import ROW, asked_for, given_duration, page_options, word
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.abdm import lists
from engine.features.abdm.commands import _acting as abdm_acting
from engine.features.abdm.rows import details as abdm_details
from engine.features.abdm.rows import lists as abdm_lists
from engine.features.abdm.rows.lists import Wanted
from engine.features.abdm.rows.state import facility_states
from engine.features.abdm.rules.consents import ConsentState
from engine.features.abdm.rules.network import ContextState, TransferState
from engine.model.errors import ConfigError, LabRelayError, RefusedError, UnreachableError
from engine.views.view import View

if TYPE_CHECKING:
    from workbench.abdm import AbdmSandbox

F = TypeVar("F", bound=Callable[..., Any])
_rows_form = form_option(Form.TABLE, Form.JSON, Form.NDJSON, Form.CSV)
_form = form_option(Form.TABLE, Form.JSON)


def register(group: click.Group) -> None:
    for one in (status, contexts, consents, transfers, show_context, show_consent):
        group.add_command(one)


@click.command()
@_form
@pass_session
def status(session: Session, form: Form) -> None:
    """Show the state of each laboratory at ABDM, and whether all is well.

    It counts care contexts and consents by state, calls that wait and that failed, open requests, suspended consents,
    and callbacks that could not be used; and says where to look. The running daemon adds faults of the account.
    """
    with session.reader() as reader:
        found = facility_states(reader, _configured(session), int(datetime.now(UTC).timestamp() * 1_000_000))
    account = _account(session)
    lines = list(lists.state_lines(found, account)) or ["this site has nothing at ABDM; docs/abdm.md says how to begin"]
    show_document(form, lists.state_in_full(found, account), lines)


def _filters(states: Sequence[str], noun: str) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        words = ", ".join(states)
        for option in (
            click.option("--reason", metavar="CODE", help="With exactly this reason."),
            click.option("--facility", metavar="ID", help="Of this laboratory, by its id at the gateway."),
            click.option(
                "--state",
                type=word(states),
                shell_complete=some_of(states),
                metavar="STATE",
                help=f"In this state: {words}.",
            ),
        ):
            command = option(command)
        return page_options(noun)(command)

    return decorate


@click.command()
@_filters([*ContextState], "context")
@click.option("--message", type=ROW, metavar="ID", help="Of this message, in its newest version.")
@click.option(
    "--report", callback=asked_for, metavar="NUMBER", help="Of reports with exactly this number; - asks for it."
)
@_rows_form
@pass_session
def contexts(session: Session, /, message: int | None, report: str | None, form: Form, **given: Any) -> None:
    """List care contexts, the newest first: each report at ABDM, its state, and why it waits or failed.

    `labrelay abdm context` shows one in full.
    """
    more = {"message": message, "report": report or ""}
    _show(session, form, lists.CONTEXT, abdm_lists.contexts, "no care context", more, **given)


@click.command()
@_filters([*ConsentState], "consent")
@_rows_form
@pass_session
def consents(session: Session, /, form: Form, **given: Any) -> None:
    """List consents of patients, the newest first, and how much was sent under each.

    `labrelay abdm consent` shows one in full. It says whether the consent manager's signature is verified.
    """
    _show(session, form, lists.CONSENT, abdm_lists.consents, "no consent", {}, **given)


@click.command()
@_filters([*TransferState], "request")
@click.option(
    "--consent", type=ROW, metavar="NUMBER", help="Under this consent, by its number in the list of consents."
)
@_rows_form
@pass_session
def transfers(session: Session, /, consent: int | None, form: Form, **given: Any) -> None:
    """List requests for records, the newest first, and how many pages the reader got."""
    _show(session, form, lists.TRANSFER, abdm_lists.transfers, "no request for records", {"consent": consent}, **given)


@click.command("context")
@click.argument("number", type=ROW, metavar="CONTEXT")
@_form
@pass_session
def show_context(session: Session, number: int, form: Form) -> None:
    """Show one care context: its versions, the steps of its link, and what went to readers."""
    with session.reader() as reader:
        found = abdm_details.context(reader, number)
    if found is None:
        raise LabRelayError(f"there is no care context {number}")
    show_document(form, lists.context_in_full(found), lists.context_lines(found))


@click.command("consent")
@click.argument("number", type=ROW, metavar="CONSENT")
@_form
@pass_session
def show_consent(session: Session, number: int, form: Form) -> None:
    """Show one consent: what it allows, to which reader and until when, and what was sent under it."""
    with session.reader() as reader:
        found = abdm_details.consent(reader, number)
    if found is None:
        raise LabRelayError(f"there is no consent {number}")
    show_document(form, lists.consent_in_full(found), lists.consent_lines(found))


def _account(session: Session) -> dict[str, Any] | None:
    """The account as the daemon's watchdog sees it; None: no daemon says it."""
    try:
        account: dict[str, Any] | None = session.call("status")["abdm"]
    except (UnreachableError, RefusedError):
        return None
    return account


def _configured(session: Session) -> dict[str, str]:
    """The laboratories of the site's configuration; none where it cannot be read."""
    from engine.features.abdm.config.destination import facilities_of

    try:
        return facilities_of(session.load(require_secrets=False).config.destinations)
    except ConfigError:
        return {}


def _show(
    session: Session,
    form: Form,
    view: View[Any],
    read: Callable[..., Sequence[Any]],
    empty: str,
    more: dict[str, Any],
    *,
    limit: int,
    before: int | None,
    **given: str | None,
) -> None:
    said: dict[str, Any] = {name: text or "" for name, text in given.items()} | more
    with session.reader() as reader:
        found = read(reader, Wanted(**said), before=before or 0, limit=limit + 1)
    cut, found = len(found) > limit, found[:limit]
    show_rows(form, view, found, empty, next_page=f"--before {found[-1].number}" if cut else "")


GROUP = "every day"
RARE = True

PORT = 8585
MOST_SHOWN = 10  # violations, at the end


def _pairs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, str]]:
    """``NAME=VALUE`` each."""
    found = [one.partition("=") for one in given]
    for name, sign, value in found:
        if not (name and sign and value):
            raise click.BadParameter(f"expected {param.metavar}", ctx, param)
    return [(name, value) for name, _, value in found]


@click.group(help=__doc__)
def command() -> None:
    pass


abdm_acting.register(command)
register(command)


@command.command("preflight")
@click.option(
    "--set-url", is_flag=True, help="Name `callbacks.url` to the gateway first: all callbacks then come here."
)
@click.option("--yes", is_flag=True, help="Without the question.")
@pass_session
def preflight(session: Session, set_url: bool, yes: bool) -> ExitCode:
    """Look whether ABDM's gateway takes our calls, and its callbacks can come in.

    It works without the daemon, but callbacks come in only where it runs. One line for each fault, with its code and
    what to do; with one the exit code is 1.
    """
    from engine.features.abdm.config.destination import found_in
    from engine.features.abdm.service.preflight import at_gateway

    named = found_in(session.load().config.destinations)
    if named is None:
        raise click.UsageError("this site has no destination of kind abdm; docs/abdm.md says how to add one")
    name, ours = named
    if set_url:
        consent(f"Have the gateway send all callbacks of {ours.client_id} to {ours.callbacks.url}?", yes=yes)
    found = asyncio.run(at_gateway(name, ours, name_url=set_url))
    for one in found:
        say(f"{one.code}: {one.facility}{': ' * bool(one.facility)}{one.text} -> {one.remedy}")
    if not found:
        say("ok: the gateway takes our calls, and callbacks can come in")
    return ExitCode.FAILED if found else ExitCode.OK


@command.command("sandbox")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Of 127.0.0.1; 0: any.")
@click.option("--client", default="SBX_000001", show_default=True, metavar="ID", help="Account of the laboratory.")
@click.option(
    "--facility", "facilities", multiple=True, callback=_pairs, metavar="ID=NAME", help="A facility. Repeatable."
)
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Callbacks may go there, too. Repeatable.")
@click.option("--fault", "calls", multiple=True, callback=_pairs, metavar="CALL=KIND", help="Of an answer. Repeatable.")
@click.option(
    "--callback-fault", "callbacks", multiple=True, callback=_pairs, metavar="NAME=KIND", help="How one arrives."
)
@click.option("--push-fault", "pushes", multiple=True, metavar="KIND", help="Of the next page. Repeatable.")
@click.option("--reader", type=click.Choice(["up", "down", "slow"]), default="up", show_default=True)
@click.option("--token-life", callback=given_duration, default="20m", show_default=True, metavar="TIME")
@click.option("--retry-after", callback=given_duration, default="1s", show_default=True, metavar="TIME")
@click.option("--late", callback=given_duration, default="1s", show_default=True, metavar="TIME", help="Of callbacks.")
@click.option("--pull-after", callback=given_duration, metavar="TIME", help="The app asks by itself after a notice.")
@click.option(
    "--window", callback=given_duration, default="20m", show_default=True, metavar="TIME", help="Of a transfer."
)
@click.option(
    "--repeat-after", callback=given_duration, default="16m", show_default=True, metavar="TIME", help="Of a callback."
)
@click.option("--stop-after", callback=given_duration, metavar="TIME", help="Stop by itself.")
def sandbox(
    port: int,
    client: str,
    facilities: list[tuple[str, str]],
    hosts: tuple[str, ...],
    calls: list[tuple[str, str]],
    callbacks: list[tuple[str, str]],
    pushes: tuple[str, ...],
    reader: str,
    token_life: float,
    retry_after: float,
    late: float,
    pull_after: float | None,
    window: float,
    repeat_after: float,
    stop_after: float | None,
) -> ExitCode:
    """Play ABDM on this machine: gateway, consent manager, a reader of records, a patient's app.

    It is strict, signs its callbacks, and does wrong on demand. `GET /violations` lists the faults of the program under
    test; with one the exit code is 5. It has made-up people only: never send it a real patient.
    """
    from pydantic import ValidationError

    from engine.runtime import event_loop
    from workbench.abdm import AbdmSandbox, Faults, Settings

    try:
        faults = Faults.model_validate(
            {
                "calls": _scripts(calls),
                "callbacks": _scripts(callbacks),
                "pushes": list(pushes),
                "reader": reader,
                "token_life_s": round(token_life),
                "retry_after_s": round(retry_after),
                "late_s": late,
            }
        )
    except ValidationError as error:
        options = {
            "calls": "--fault",
            "callbacks": "--callback-fault",
            "pushes": "--push-fault",
            "token_life_s": "--token-life",
            "retry_after_s": "--retry-after",
            "late_s": "--late",
        }
        option = options[str(error.errors()[0]["loc"][0])]
        raise click.UsageError(f"{option}: {error.errors()[0]['msg']}") from None
    usual = Settings()
    settings = Settings(
        client=client,
        facilities=dict(facilities) or usual.facilities,
        hosts=frozenset(hosts),
        pull_after_s=pull_after,
        window_s=window,
        repeat_after_s=repeat_after,
    )
    return event_loop.run(_serve(AbdmSandbox(port=port, settings=settings, faults=faults), settings.secret, stop_after))


def _scripts(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    scripts: dict[str, list[str]] = {}
    for name, kind in pairs:
        scripts.setdefault(name, []).append(kind)
    return scripts


async def _serve(simulator: "AbdmSandbox", secret: str, stop_after: float | None) -> ExitCode:
    """Serve until SIGINT, SIGTERM, or the end of the time."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        await simulator.start()
    except OSError as error:
        await simulator.stop()
        say(f"cannot listen: {error.strerror or type(error).__name__}; give another port with --port")
        return ExitCode.FAILED
    settings = simulator.state.settings
    say(f"ABDM on {simulator.url}; account {settings.client}, secret {secret}")
    say(f"facilities: {', '.join(settings.facilities)}; people: {simulator.url}/app/people")
    with suppress(TimeoutError):
        async with asyncio.timeout(stop_after):
            await stopped.wait()
    found, count = simulator.violations, simulator.state.counts["violations"]
    await simulator.stop()
    for one in found[:MOST_SHOWN]:
        say(f"{one['where']}: {one['rule']}{': ' * bool(one['detail'])}{one['detail']}")
    say(f"stopped; {count} {'violation' if count == 1 else 'violations'}")
    return ExitCode.PARTLY if count else ExitCode.OK
