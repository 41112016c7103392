"""The frame of the command line: verbs, sites, exit codes, and what is never shown."""

import ast
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from engine.__main__ import labrelay as group
from engine.__main__ import run
from engine.commands.shared import verb_list
from engine.commands.shared.output import EXIT_WORDS, ExitCode
from engine.commands.shared.verb_list import GROUPS, TOPICS, verb_files, verbs
from engine.model.errors import ConfigError, IntegrityError, LabRelayError, LockedError, RefusedError, UnreachableError
from engine.views.help import library
from engine.views.view import Field, printable, table
from tests.support.command_line import labrelay
from tests.support.filled_journal import fill_journal
from tests.support.sites import make_site


def test_help_lists_verbs_in_groups_and_rare_ones_with_all() -> None:
    first, every = labrelay("--help"), labrelay("help", "all")

    assert (first.code, every.code) == (ExitCode.OK, ExitCode.OK)
    for name, verb in verbs().items():
        assert verb.line.endswith("."), f"{verb_files()[name]}: end the docstring's first line, its help, with a stop"
        assert _listed(name, every.out)
        assert _listed(name, first.out) != verb.rare
    assert "help all" in first.out
    alone = labrelay("help").out
    assert alone.startswith(first.out)
    for name in library.names():
        assert re.search(rf"^  help {name}(  |$)", alone, re.MULTILINE), name
    sections = [line[:-1].lower() for line in every.out.splitlines() if line.endswith(":") and line[0] != " "]
    assert sections == list(GROUPS), "GROUPS of engine/commands/shared/verb_list.py has a group without a verb"


def _listed(verb: str, help_text: str) -> bool:
    return any(line.startswith(f"  {verb} ") for line in help_text.splitlines())


@pytest.mark.parametrize("name", sorted(verbs()))
def test_every_verb_says_its_group(name: str) -> None:
    assert verbs()[name].group in GROUPS, f"{verb_files()[name]}: add a constant GROUP, one of: {', '.join(GROUPS)}"


def test_verbs_are_found_in_their_folders_and_in_those_of_features_and_of_the_workbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb_list, "ROOT", tmp_path)
    found_there = ("engine/commands/run.py", "engine/commands/upkeep/key.py")
    found_there += ("engine/features/orders/commands/give_back.py", "workbench/bench/commands/bench.py")
    no_verbs = ("upkeep/__init__.py", "shared/output.py", "topics/keys.py")
    no_verbs = (*(f"engine/commands/{name}" for name in no_verbs), "engine/features/orders/commands/_shared.py")
    for name in (*found_there, *no_verbs, "workbench/bench/load.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = verb_list.verb_files.__wrapped__()
    assert list(found) == ["bench", "give-back", "key", "run"]
    assert verb_list.module_of(found["give-back"]) == "engine.features.orders.commands.give_back"
    assert verb_list.module_of(found["key"]) == "engine.commands.upkeep.key"
    assert verb_list.module_of(found["bench"]) == "workbench.bench.commands.bench"


def test_help_explains_verbs_and_topics() -> None:
    assert labrelay("help", "dlq", "retry").out == labrelay("dlq", "retry", "--help").out
    assert labrelay("help", "verify").out == labrelay("verify", "--help").out
    assert labrelay("help", "status").out.startswith(labrelay("status", "--help").out)
    for name in TOPICS:
        assert labrelay("help", name).code == ExitCode.OK
        assert f"help {name}" in labrelay("--help").out
    codes = labrelay("help", "exit-codes").out
    assert all(f" {code.value}  " in codes for code in EXIT_WORDS)
    again = labrelay("help", "again").out
    assert len(again.splitlines()) <= 14
    assert all(f"  {name} " in again for name in ("dlq retry", "dlq edit", "reprocess", "replay", "restart"))


def test_help_of_what_does_not_exist_names_the_nearest() -> None:
    for arguments, said in (
        (("help", "statsu"), "did you mean status?"),
        (("help", "agian"), "did you mean again?"),
        (("help", "version", "now"), "labrelay version has no verb now"),
        (("help", "resons"), "did you mean reasons?"),
        (("help", "reasons", "NO_ROTE"), "did you mean NO_ROUTE?"),
        (
            ("help", "keys", "destinations.fihr"),
            "keys has no part destinations.fihr; did you mean fhir?",
        ),
        (("help", "dlq", "retyr"), "did you mean retry?"),
    ):
        ran = labrelay(*arguments)
        assert (ran.code, ran.out) == (ExitCode.USAGE, "")
        assert said in ran.err


@pytest.mark.parametrize("name", sorted(verbs()))
def test_every_verb_has_help(name: str) -> None:
    ran = labrelay(name, "--help")

    assert ran.code == ExitCode.OK
    assert ran.out.startswith(f"Usage: labrelay {name}")


def test_a_crash_leaves_no_memory_on_the_disk() -> None:
    """Whatever the caller's limits are; processes that a verb starts inherit it."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import resource; from engine import __main__ as labrelay\n"
            "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
            "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
            "labrelay.run = lambda: print(resource.getrlimit(resource.RLIMIT_CORE)) or 0\n"
            "labrelay.main()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "(0, 0)\n"


def test_garbage_is_collected_while_a_verb_runs() -> None:
    """It is not while the modules of a verb are read; a daemon that never collected would fill the memory."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import atexit, gc, sys; from engine import __main__ as labrelay\n"
            "sys.argv = ['labrelay', 'version']; read = []\n"
            "labrelay.import_module = lambda name, real=labrelay.import_module: (\n"
            "    read.append(gc.isenabled()) or real(name))\n"
            "atexit.register(lambda: print(read, gc.isenabled()))\n"
            "labrelay.main()",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1].startswith("[False")
    assert told.stdout.endswith("] True\n")


def test_an_unknown_verb_is_wrong_use_and_gets_a_suggestion() -> None:
    ran = labrelay("versoin")

    assert ran.code == ExitCode.USAGE
    assert "did you mean version?" in ran.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("messages 3", "no such verb: 3; labrelay messages show 3 shows one"),
        ("messages lst", "no such verb: lst; did you mean list?"),
        ("audit nothing-like-it", "no such verb: nothing-like-it; labrelay audit has export, list, verify"),
        ("status --site elsewhere", "--site comes before the verb: labrelay --site ..."),
        ("dlq list --debug", "--debug comes before the verb: labrelay --debug ..."),
        ("help agian", "no such verb or topic: agian; did you mean again?"),
    ],
)
def test_wrong_use_is_answered_in_one_voice(line: str, said: str) -> None:
    ran = labrelay(*line.split())
    assert (ran.code, said in ran.err) == (ExitCode.USAGE, True), ran.err


def test_internal_modules_are_no_verbs() -> None:
    assert labrelay("session").code == ExitCode.USAGE
    assert labrelay("../site").code == ExitCode.USAGE


def test_version_says_what_a_bug_report_needs() -> None:
    assert labrelay("version").out.startswith("labrelay")
    facts = labrelay("version", "-o", "json").json
    assert facts["schema_version"] == 1
    assert {"labrelay", "python", "sqlite", "system", "origin"} <= set(facts)


def test_version_imports_nothing_heavy() -> None:
    script = "import sys; from engine.__main__ import run; run(['version']); print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
    loaded = set(ast.literal_eval(out.splitlines()[-1]))

    heavy = {
        "asyncio",
        "aiohttp",
        "pydantic",
        "yaml",
        "jinja2",
        "cryptography",
        "tenacity",
        "engine.config.load",
    }
    found = sorted(loaded & heavy)
    assert found == [], found


@pytest.mark.parametrize("verb", ["messages", "dlq"])
def test_lists_import_what_they_read_with_and_nothing_that_writes_or_checks(verb: str, tmp_path: Path) -> None:
    fill_journal((site := make_site(tmp_path)) / "var")
    script = f"import sys; from engine.__main__ import run; print(run(['--site', {str(site)!r}, {verb!r}, 'list']))"
    script += "; print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
    *_, ended, names = out.splitlines()
    loaded = set(ast.literal_eval(names))

    assert (ended, "engine.store.queries" in loaded) == ("0", True)
    unneeded = {
        "pydantic",
        "engine.config.load",
        "engine.store.journal",
        "engine.store.core.writing.writer",
        "engine.store.core.writing.batch",
        "asyncio",
        "tenacity",
    }
    found = sorted(loaded & unneeded)
    assert found == [], found


LIGHT = {  # what a verb does without -> so its module does not load it
    "engine.features.orders.commands.orders": "engine.mapping",
    "engine.commands.upkeep.upgrade": "pydantic",
}


@pytest.mark.parametrize(("verb", "heavy"), LIGHT.items())
def test_a_verb_begins_without_what_it_may_not_need(verb: str, heavy: str) -> None:
    script = f"import sys, {verb}; print({verb!r} in sys.modules, {heavy!r} in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120).stdout
    assert out == "True False\n"


def test_version_starts_fast() -> None:
    best = min(_timed([sys.executable, "-m", "engine", "version"]) for _ in range(5))

    assert best < 0.6, "a command that imports too much; 0.06 s is usual, the bound leaves room for a slow machine"


def _timed(command: list[str]) -> float:
    """Seconds of a processor; by the clock a busy machine is slow, too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


# -- which site --------------------------------------------------------------------------------------------------


def test_the_site_is_named_or_here_or_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.config.site import find_site

    site, other = make_site(tmp_path / "a"), make_site(tmp_path / "b")
    monkeypatch.delenv("LABRELAY_SITE", raising=False)
    monkeypatch.setattr("engine.config.site.SYSTEM_SITE", tmp_path / "system")
    monkeypatch.chdir(site)
    assert find_site() == site
    monkeypatch.setenv("LABRELAY_SITE", str(other))
    assert find_site() == other
    assert find_site(str(site)) == site
    monkeypatch.delenv("LABRELAY_SITE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no site here"):
        find_site()
    assert find_site.__doc__
    make_site(tmp_path / "system")
    assert find_site() == tmp_path / "system"


def test_a_folder_that_is_no_site_is_a_configuration_problem(tmp_path: Path) -> None:
    ran = labrelay("check", site=tmp_path)

    assert ran.code == ExitCode.CONFIG
    assert "is not a site; a site is a folder with config/labrelay.yaml" in ran.err


# -- how it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a.yaml:1:1: wrong"), ExitCode.CONFIG),
        (LockedError("held"), ExitCode.UNREACHABLE),
        (UnreachableError("no daemon"), ExitCode.UNREACHABLE),
        (IntegrityError("row 5"), ExitCode.INTEGRITY),
        (RefusedError("add --yes"), ExitCode.REFUSED),
        (LabRelayError("failed"), ExitCode.FAILED),
        (TimeoutError("slow"), ExitCode.TIMEOUT),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (click.Abort(), ExitCode.INTERRUPTED),
    ],
)
def test_each_way_to_end_has_its_code(
    error: BaseException, code: ExitCode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(group, "main", fail)

    assert run(["version"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_failure() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "engine", "version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=120) == ExitCode.OK
    assert said == b""


def test_a_fault_of_ours_shows_its_place_and_never_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise KeyError("SHARMA^ANITA")

    monkeypatch.setattr(group, "main", fail)

    assert run(["version"]) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "KeyError at test_command_line.py:" in said
    assert "SHARMA" not in said

    assert run(["--debug", "version"]) == ExitCode.FAILED
    assert "Traceback" in capsys.readouterr().err


# -- what is shown -----------------------------------------------------------------------------------------------


def test_what_a_peer_sent_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07") == "a\\x1b[2Jb\\x07"
    rows = [{"id": 1, "name": "\x1b]0;x\x07", "none": None}]
    lines = list(table(rows, [Field("id", "ID", right=True), Field("name", "NAME"), Field("none", "NONE")]))

    assert "\x1b" not in lines[1]
    assert "NONE" not in lines[0]


def test_color_is_off_when_the_person_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    seen: list[bool | None] = []

    @click.command("probe")
    @click.pass_context
    def probe(ctx: click.Context) -> None:
        seen.append(ctx.color)

    monkeypatch.setattr(type(group), "get_command", lambda *_: probe)

    assert labrelay("probe").code == ExitCode.OK
    assert seen == [False]


def test_every_module_of_the_commands_room_says_what_it_is() -> None:
    for path in verb_files().values():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        (">&-", ExitCode.OK, ""),
        ("> /dev/full", ExitCode.FAILED, "the output cannot be written: No space left on device"),
    ],
)
def test_an_output_that_nobody_can_write_is_no_fault_inside(to: str, code: ExitCode, said: str) -> None:
    line = f"exec {shlex.quote(sys.executable)} -m engine version {to}"
    ran = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, "fault inside" in ran.stderr) == (code, False)
    assert said in ran.stderr
