"""Check whether this program runs with the site as it is, or go back to the program before it.

A new version is installed by its own installer: `sudo tools/install.sh`, in a checkout or in the archive that `make
bundle` makes. Before it takes the old one's place it runs `upgrade --check`; the old one stays beside it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, consent, pass_session
from engine.commands.version import labrelay_version
from engine.diagnostics.examine import worst
from engine.model.errors import LabRelayError, StoreError
from engine.model.site.health import Health, Line
from engine.views.view import picked, plural

GROUP = "upkeep"


@click.command(help=__doc__)
@click.option(
    "--check", is_flag=True, help="Configuration, mappings and journal against this program; changes nothing."
)
@click.option("--rollback", is_flag=True, help="Put the earlier program back, if it can read the journal (root).")
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, check: bool, rollback: bool, yes: bool, form: Form) -> ExitCode:
    if check == rollback:
        raise click.UsageError("say --check or --rollback; to install a version, run its tools/install.sh")
    return _check(session, form) if check else _roll_back(session, yes=yes)


def _check(session: Session, form: Form) -> ExitCode:
    from engine.diagnostics.installed import earlier, examine_earlier, examine_journal

    journal = examine_journal(session.journal)
    lines = [*_configuration(session, corrected=journal.health is not Health.FAIL), journal]
    if all(line.health is not Health.FAIL for line in lines):
        lines.append(examine_earlier(session.journal, earlier()))
    document = {
        "labrelay": labrelay_version(),
        "health": worst(lines),
        "lines": [picked(line, "health subject text advice") for line in lines],
    }
    show_document(form, document, _for_people(lines))
    return ExitCode.FAILED if worst(lines) is Health.FAIL else ExitCode.OK


def _configuration(session: Session, *, corrected: bool) -> Iterator[Line]:
    from engine.commands.check import read_site

    site, remarks = read_site(session, corrected=corrected)
    problems = [remark.text for remark in remarks if remark.severity == "problem"]
    for text in problems:
        yield Line(Health.FAIL, "configuration", text, "correct it, or keep the version that takes it")
    if site is not None and not problems:
        channels = plural(len(site.channels), "channel")
        yield Line(Health.OK, "configuration", f"{session.folder}: {channels}, mappings compile")
        from engine.commands.doctor import EXAMINES

        with suppress(StoreError):  # of another schema: `labrelay doctor` says it after the start
            yield from EXAMINES.by_feature()["access"](site, session.reader, False)


def _for_people(lines: list[Line]) -> Iterator[str]:
    yield f"LabRelay {labrelay_version()}"
    for line in lines:
        yield f"{line.health:<5} {line.subject:<14} {line.text}"
        if line.advice:
            yield f"{'':<5} {'':<14} -> {line.advice}"


def _roll_back(session: Session, *, yes: bool) -> ExitCode:
    from engine.diagnostics.installed import NAME, UNIT, earlier, roll_back
    from engine.store.core.files.ownership import as_given

    program = Path(sys.prefix)
    if program.name != NAME or (program / "pyvenv.cfg").stat().st_uid != os.geteuid():
        raise LabRelayError(f"{program}: was not put there by the installer, or not by this user; run this as root")
    old = earlier(program)
    if old is not None:
        consent(f"Put LabRelay {old.version} in the place of {labrelay_version()}?", yes=yes)
    now = roll_back(program, session.journal)
    say(f"installed now: LabRelay {now.version}; {labrelay_version()} is kept as the earlier one")
    if _runs_as_service():
        with as_given(program):
            subprocess.run(["systemctl", "restart", UNIT], check=False)  # noqa: S603, S607
        say("the service was restarted; analyzers send again what was not acknowledged")
    else:
        say("the service does not run here; start it when you are ready")
    return ExitCode.OK


def _runs_as_service() -> bool:
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return False
    from engine.diagnostics.installed import UNIT

    return subprocess.run([systemctl, "is-active", "--quiet", UNIT], check=False).returncode == 0  # noqa: S603
