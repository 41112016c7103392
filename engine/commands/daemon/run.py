"""Run LabRelay in the foreground: receive, journal, map and deliver until it is stopped (SIGTERM or Ctrl-C).

SIGHUP, or `labrelay reload`, reads the configuration again without dropping a connection that did not change. Under
systemd the start, reload and health are reported to it.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import click

from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import ConfigError, DamagedError, IntegrityError, StoreError

if TYPE_CHECKING:
    from engine.runtime.app import App

GROUP = "start"

FATAL_STORE = (
    "the journal could not be written or synced; its content is uncertain, so this process ends at once. "
    "Nothing that was acknowledged is lost. Check the disk, then start again"
)
DAMAGED_STORE = "the journal is damaged; starting again does not mend it: %s"
LEAVE_WITHIN_S = 1.0  # once everything is closed


@click.command(help=__doc__)
@click.option(
    "--log", "style", type=click.Choice(["auto", "json", "human"]), default="auto", help="Form of log lines (stderr)."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="How much is logged.",
)
@pass_session
def command(session: Session, style: str, log_level: str) -> None:
    gc.disable()  # modules that are being read make no garbage, as in `engine.__main__.main`
    from engine.commands.shared.trying import SiteTrials
    from engine.monitoring.counters import Counters
    from engine.monitoring.logs import loop_exception_handler, setup_logging
    from engine.runtime import event_loop
    from engine.runtime.app import App

    gc.freeze()
    gc.enable()
    session.act_as_service()
    counters = Counters()
    setup_logging(counters, level=log_level, style=style)
    os.umask(0o077)  # whatever is written is for our user only
    logger = logging.getLogger("labrelay.run")

    async def serve() -> None:
        app = App(session.folder, counters=counters, trial=SiteTrials(session.folder), apart=True)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(loop_exception_handler)

        def stop(number: signal.Signals) -> None:
            logger.info("stopping", extra={"detail": number.name})
            app.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        reloads: set[asyncio.Task[None]] = set()

        async def reload() -> None:
            try:
                await app.reload()
            except ConfigError as error:
                logger.error("reload refused, the old configuration stays")
                for problem in error.problems:
                    say(problem)

        def hang_up() -> None:
            task = loop.create_task(reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        try:
            await app.run(started)
        except StoreError as error:
            if isinstance(error, DamagedError) or (error.fatal and not isinstance(error, IntegrityError)):
                # Here and not behind the loop: at its end that would wait for each thread that hangs.
                _end_at_once(logger, error)
            raise
        logger.info("stopped", extra={"pid": os.getpid()})
        _leave_at_last()

    def started(app: App) -> None:
        logger.info("ready", extra={"pid": os.getpid(), "config_hash": app.parts.built.site.hash[:12]})
        if sys.stderr.isatty():
            for line in _greeting(app):
                say(line)

    event_loop.run(serve())


def _greeting(app: "App") -> Iterator[str]:
    """Facts for a person at a terminal."""
    config = app.parts.built.site.config
    yield f"LabRelay runs for {config.site.name}."
    if config.web.enabled:
        yield f"  status page: {config.web.address}"
    if app.set_up_link:
        yield f"  no user yet; for the first admin, within 15 minutes: {app.set_up_link}"
    for name, source in app.parts.sources.items():
        yield f"  channel {name}: {source.built.config.source.place}" + (f" - {source.fault}" if source.fault else "")
    yield "  log: here; of the service: journalctl -u labrelay"
    yield "Ctrl-C stops it. Everything that was acknowledged is stored."


def _end_at_once(logger: logging.Logger, error: "StoreError") -> NoReturn:
    """No clean-up: a sync failed, and every further write could make things worse."""
    if isinstance(error, DamagedError):  # a long detail is cut, and the advice is what counts
        logger.critical(DAMAGED_STORE, error.advice, extra={"detail": error.what})
    else:
        logger.critical(FATAL_STORE, extra={"detail": str(error)})
    sys.stderr.flush()
    os._exit(ExitCode.INTEGRITY)


def _leave_at_last() -> None:
    """Everything is closed; see to it that the process ends, too. The event loop would wait for each name that is still
    being looked up, and where a name server does not answer, that takes a minute."""

    def leave() -> None:
        sys.stderr.flush()
        os._exit(ExitCode.OK)

    timer = threading.Timer(LEAVE_WITHIN_S, leave)
    timer.daemon = True
    timer.start()
