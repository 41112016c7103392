"""Tokens of programs that use the interface, and of wall screens: make, list and revoke them.

A token is shown once and stored as a hash. It has permissions of its own and an end; the one of a wall screen only
watches the overview, names no patient, and has no end.
"""

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import given_duration
from engine.commands.shared.session import Session, pass_session
from engine.features.access.lists import TOKEN
from engine.features.access.rows.reading import known
from engine.model.process.clock import SystemClock
from engine.model.site.permissions import Permission

GROUP = "upkeep"
RARE = True

_name = click.argument("name", metavar="NAME")


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command()
@_name
@click.option(
    "--may",
    "permissions",
    multiple=True,
    type=click.Choice([one.value for one in Permission]),
    default=["look"],
    show_default=True,
    help="The bearer may do this; give it again for more.",
)
@click.option(
    "--expires", metavar="TIME", default="90d", show_default=True, callback=given_duration, help="After this long."
)
@click.option("--wall-screen", is_flag=True, help="Only watch the overview, without an end.")
@click.option("--unit", "units", multiple=True, help="It sees this unit of the site alone; give it again for more.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def add(
    session: Session,
    name: str,
    permissions: tuple[str, ...],
    expires: float,
    wall_screen: bool,
    units: tuple[str, ...],
    form: Form,
) -> None:
    """Make a token, and show it this once."""
    ends_us = 0 if wall_screen else SystemClock().now_us() + int(expires * 1e6)
    may = [Permission.WATCH.value] if wall_screen else sorted(set(permissions))
    made = ask(session, "token_add", {"name": name, "permissions": may, "ends_us": ends_us, "units": list(units)})
    say("keep it where other secrets are; it is not shown again")
    show_document(form, made, [made["secret"]])


@command.command("list")
@form_option()
@pass_session
def list_tokens(session: Session, form: Form) -> None:
    """List tokens, with their last use."""
    with session.reader() as reader:
        found = known(reader)
    show_rows(form, TOKEN, found.tokens.values(), "there are no tokens")


@command.command()
@_name
@pass_session
def revoke(session: Session, name: str) -> None:
    """End a token at once."""
    say(f"{ask(session, 'token_revoke', {'name': name})['token']} is revoked")
