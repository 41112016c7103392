"""Users of the page: add, list, change and remove them.

A role is a set of permissions: viewer (look), operator (and act), engineer (and change), admin (and administer). To see
patients is given besides. A change works at once, also for a person who is logged in.

A role may be of units of the site (site: units:): with east:operator,west:viewer the user sees these alone.
"""

import sys
from typing import Any

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import Form, form_option, on_terminal, say, show_document, show_rows
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.access.lists import SESSION, USER
from engine.features.access.rows.reading import known
from engine.model.errors import LabRelayError, RefusedError
from engine.model.process.clock import SystemClock
from engine.model.site.permissions import ROLES, Permission

GROUP = "upkeep"

_name = click.argument("name", metavar="NAME")
_role = "|".join((*ROLES, "UNIT:ROLE,..."))
_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)
LONGEST_LINE = 1024


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command()
@_name
@click.option("--role", metavar=_role, default="viewer", show_default=True, help="The permissions of the user.")
@click.option("--see-patients", is_flag=True, help="The user may see the contents of messages, too.")
@_password_stdin
@pass_session
def add(session: Session, name: str, role: str, see_patients: bool, password_stdin: bool) -> None:
    """Add a user; asks for the first password, of at least 12 characters."""
    password = _typed(name, from_stdin=password_stdin)
    args = {"name": name, "role": role, "password": password, "sees_patients": see_patients}
    say(f"{ask(session, 'user_add', args)['user']} may log in as {role}")


@command.command("list")
@form_option()
@pass_session
def list_users(session: Session, form: Form) -> None:
    """List users, with what they may do."""
    with session.reader() as reader:
        found = known(reader)
    show_rows(form, USER, found.users.values(), "there are no users; labrelay user add NAME --role admin")


@command.command()
@_name
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, name: str, form: Form) -> None:
    """Show a user, and where the user is logged in."""
    with session.reader() as reader:
        found = known(reader)
    if (user := found.named(name)) is None:
        raise LabRelayError(f"there is no user {name}; labrelay user list shows all")
    now_us = SystemClock().now_us()
    open_ones = [one for one in found.sessions.values() if one.user == user.id and one.ends_us > now_us]
    if form is Form.JSON:
        show_document(form, {**USER.row(user), "sessions": SESSION.rows(open_ones)}, [])
        return
    show_rows(form, USER, [user], "")
    show_rows(form, SESSION, open_ones, f"{user.name} is not logged in")


@command.command()
@_name
@click.argument("role", metavar=_role)
@pass_session
def role(session: Session, name: str, role: str) -> None:
    """Give a user another role."""
    say(f"{_change(session, name, 'role', role)} is {role} now")


@command.command()
@_name
@click.argument("permission", type=click.Choice([Permission.PATIENTS.value]))
@click.option("--take-back", is_flag=True, help="Take it back.")
@pass_session
def grant(session: Session, name: str, permission: str, take_back: bool) -> None:
    """Let a user see patients: the contents of messages and documents."""
    user = _change(session, name, permission, "" if take_back else "on")
    say(f"{user} {'does not see patients any more' if take_back else 'may see patients'}")


@command.command()
@_name
@_password_stdin
@pass_session
def password(session: Session, name: str, password_stdin: bool) -> None:
    """Give a user another password; ends all sessions of the user, and a wait after wrong log-ins."""
    user = _change(session, name, "password", _typed(name, from_stdin=password_stdin))
    say(f"{user} has another password and has to log in again")


@command.command("second-factor")
@_name
@click.option("--off", is_flag=True, required=True, help="Take it away, with its recovery codes.")
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@pass_session
def second_factor(session: Session, name: str, off: bool, yes: bool) -> None:
    """Take away a second factor whose phone is lost. Users set up their own on the page."""
    consent(f"Take away the second factor of {name}?", yes=yes)
    say(f"{_change(session, name, 'second-factor-off')} logs in by password alone until a new one is set up")


@command.command()
@_name
@pass_session
def disable(session: Session, name: str) -> None:
    """Keep a user out, at once; sessions of the user end."""
    say(f"{_change(session, name, 'disable')} cannot log in any more")


@command.command()
@_name
@pass_session
def enable(session: Session, name: str) -> None:
    """Let a disabled user in again."""
    say(f"{_change(session, name, 'enable')} may log in again")


@command.command()
@_name
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@pass_session
def remove(session: Session, name: str, yes: bool) -> None:
    """Remove a user. The audit trail keeps the name; tokens that the user made stay."""
    consent(f"Remove the user {name}?", yes=yes)
    say(f"{_change(session, name, 'remove')} is removed")


def _change(session: Session, name: str, do: str, value: str = "") -> str:
    changed: dict[str, Any] = ask(session, "user_change", {"name": name, "do": do, "value": value})
    return str(changed["user"])


def _typed(name: str, *, from_stdin: bool) -> str:
    """A new password, typed twice on a terminal."""
    if from_stdin:
        return sys.stdin.readline(LONGEST_LINE).rstrip("\r\n")
    if not on_terminal():
        raise RefusedError("there is no terminal to type the password on; give it with --password-stdin")
    return str(click.prompt(f"new password of {name}", hide_input=True, confirmation_prompt="once more", err=True))
