"""The `labrelay` command: finds the verb, runs it, and turns how it ended into an exit code.

A verb is a module ``<verb>.py`` that `engine.commands.shared.verb_list` finds, with a click command named ``command``;
the first line of its docstring is its help in the list of verbs, and its constant ``GROUP`` says where in that list.
Modules are found by looking at the folders and imported when their verb is used, so that `labrelay version` costs no
YAML, no SQLite and no HTTP.
"""

import gc
import os
import resource
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from engine.commands.shared.output import ExitCode, say
from engine.commands.shared.session import Session
from engine.commands.shared.verb_list import TOPICS, module_of, verb_files, verbs, write_verbs
from engine.model.errors import ConfigError, LabRelayError, LossError
from engine.views.view import ZONE


class Verbs(click.Group):
    """The verbs that exist as modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(verbs())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = verb_files().get(cmd_name.replace("_", "-"))
        if path is None:
            return None
        command: click.Command | None = getattr(import_module(module_of(path)), "command", None)
        if not gc.isenabled():  # see `main`
            gc.freeze()
            gc.enable()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, name) is None and not name.startswith("-"):
            from engine.model.texts.spelling import did_you_mean

            hint = did_you_mean(name, verbs()) or "labrelay help all lists them"
            raise click.UsageError(f"no such verb: {name}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the modules' text, so that completion imports no verb but the one that is typed."""
        found = [CompletionItem(name, help=verb.line) for name, verb in verbs().items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the modules' text, so that help imports nothing."""
        write_verbs(formatter, rare=False)
        with formatter.section("More"):
            formatter.write_dl(
                [
                    ("help VERB", "Explain a verb, as its --help does."),
                    ("help all", "List every verb, also the rare ones."),
                    ("help", "List topics and pages, too."),
                    *((f"help {name}", topic.title) for name, topic in TOPICS.items()),
                ]
            )


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    no_args_is_help=True,
    subcommand_metavar="VERB ...",
)
@click.option("--site", metavar="DIR", help="The site's folder; else LABRELAY_SITE, this folder, or /etc/labrelay.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal fault. It may hold patient data.")
@click.pass_context
def labrelay(ctx: click.Context, site: str | None, debug: bool) -> None:
    """LabRelay: laboratory results from analyzers (HL7 v2, ASTM) to FHIR, durably."""
    ctx.obj = session = Session(site=site)
    ZONE.set(lambda: session.zone_or_here)
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def run(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run one command line and return its exit code; never raises for what people, files or peers do."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        ended = labrelay.main(given, prog_name="labrelay", standalone_mode=False)
        if sys.stdout is not None:  # closed before we began: no output is wanted
            sys.stdout.flush()
        return ExitCode(ended or 0)
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        _in_one_voice(error).show()
        return ExitCode.USAGE
    except (BrokenPipeError, SystemExit):
        # The reader had enough (`| head`; click raises SystemExit then): nothing failed, and no reader is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.OK
    except Exception as error:
        return _failed(error, debug="--debug" in given)
    finally:
        if ownership := sys.modules.get("engine.store.core.files.ownership"):
            ownership.come_back()  # as the caller began, who may go on


def _in_one_voice(error: click.ClickException) -> click.ClickException:
    """Wrong use in the words of `resolve_command`, where click has words of its own."""
    if isinstance(error, click.NoSuchOption) and error.option_name in ("--site", "--debug"):
        name = error.option_name
        return click.UsageError(f"{name} comes before the verb: labrelay {name} ...", error.ctx)
    if isinstance(error, click.exceptions.NoSuchCommand) and error.ctx is not None:
        from engine.model.texts.spelling import did_you_mean

        assert isinstance(error.ctx.command, click.Group)
        known, path = error.ctx.command.list_commands(error.ctx), error.ctx.command_path
        hint = did_you_mean(error.command_name, known) or f"{path} has {', '.join(known)}"
        if error.command_name.isdecimal() and "show" in known:
            hint = f"{path} show {error.command_name} shows one"
        return click.UsageError(f"no such verb: {error.command_name}; {hint}", error.ctx)
    return error


def _failed(error: Exception, *, debug: bool) -> ExitCode:
    """Say what went wrong, in the way its class asks for."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(problem)
        return ExitCode(error.exit_code)
    if isinstance(error, (LabRelayError, TimeoutError)):
        say(f"labrelay: {error}")
        if isinstance(error, LossError):
            say(
                "Put the files back if you can find them; save what can be read of damaged ones: labrelay journal "
                "salvage -h; if they are gone for good: labrelay journal accept-loss -h"
            )
        return ExitCode.TIMEOUT if isinstance(error, TimeoutError) else ExitCode(error.exit_code)
    frames = traceback.extract_tb(error.__traceback__)
    if (
        isinstance(error, OSError)
        and frames
        and Path(frames[-1].filename) in (Path(click.utils.__file__), Path(__file__))
    ):
        say(f"labrelay: the output cannot be written: {error.strerror}; the command may have been carried out")
        return ExitCode.FAILED
    if debug:
        traceback.print_exception(error)
        return ExitCode.FAILED
    # The exception's own words may quote a message; its class and place never do.
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown place"
    say(f"labrelay: a fault inside LabRelay: {type(error).__name__} at {where}")
    say(
        "Please report this line with the output of `labrelay version`. --debug shows more; read it before you send it."
    )
    return ExitCode.FAILED


def main() -> None:
    # Modules that are being read make no garbage; looking for it takes a tenth of a short command's time.
    gc.disable()
    # In memory are patients and keys: a dump of it after a crash would lie in clear wherever the system puts it. The
    # unit says the same; a container, or a command run by hand, has no unit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(run())


if __name__ == "__main__":
    main()
