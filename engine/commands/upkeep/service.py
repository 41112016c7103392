"""Show, or write, what the systemd service of this site may reach and write: the drop-in of its unit.

The unit that `make install` puts in place allows this machine, private networks and the data folder. The drop-in adds
the destinations, folders and senders of this site; where a destination has a public name, any address. Give the command
again after a change of these: `labrelay doctor` says when it is needed.
"""

import os
import shutil
import subprocess
from pathlib import Path

import click

from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import LabRelayError

GROUP = "upkeep"
RARE = True


@click.command(help=__doc__)
@click.option("--write", is_flag=True, help="Write it where systemd reads it (root), and have systemd read it.")
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE", help="With --write: another file, as of an image."
)
@click.option("--adding", is_flag=True, help="With --write: it may also add analyzers, into the site's folders.")
@pass_session
def command(session: Session, write: bool, to: Path | None, adding: bool) -> ExitCode:
    from engine.diagnostics import service

    if (to is not None or adding) and not write:
        raise click.UsageError("--to and --adding need --write; without it the drop-in is shown")
    if adding:
        service.grant(session.folder)
    text = service.drop_in(session.load(require_secrets=False))
    if not write:
        click.echo(text, nl=False)
        return ExitCode.OK
    file = to or service.DROP_IN
    try:
        if not file.parent.is_dir():
            file.parent.mkdir(parents=True)
            file.parent.chmod(0o755)  # whatever the umask: `doctor` reads the file as the service's user
        file.write_text(text, encoding="utf-8")
        file.chmod(0o644)
    except OSError as error:
        raise LabRelayError(f"{file}: {error.strerror}; run this as root") from error
    say(f"wrote {file}")
    systemctl = shutil.which("systemctl")
    if to is None and systemctl is not None and os.path.isdir("/run/systemd/system"):
        subprocess.run([systemctl, "daemon-reload"], check=False)  # noqa: S603
        say("Next: sudo systemctl restart labrelay")
    return ExitCode.OK
