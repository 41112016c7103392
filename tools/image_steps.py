"""Build `Dockerfile` step by step in plain folders, and try what came of it, where no container engine runs.

    sudo python tools/image_steps.py [--base FOLDER] [--into FOLDER]

For each FROM a copy of a root file system (made by debootstrap, or `--base`), for each RUN a chroot into it with its
own mounts, for COPY the files that `.dockerignore` lets through. USER, ENV, WORKDIR, ENTRYPOINT and CMD are kept as an
engine keeps them, and used for the trial: the version, and a demo of 50 messages that must all arrive. What it does not
do: layers, caches, health checks and networks of an engine.

An instruction that it does not know ends it: nothing is passed over.
"""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITES = {"debian:bookworm-slim": "bookworm"}
STEP_WITHIN_S = 600
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOTHING_TO_DO = {"EXPOSE", "VOLUME", "STOPSIGNAL", "HEALTHCHECK"}
# Its own mounts and processes; the files of this machine that a container gets, too.
ENTER = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
cp /etc/resolv.conf "$1/etc/resolv.conf"
shift
exec "$@"
"""


@dataclass
class Stage:
    """One FROM: a root file system and what was said about the programs in it."""

    root: Path
    name: str = ""
    user: str = "root"
    folder: str = "/"
    environ: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    entry: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--base", type=Path, help="a root file system to start from, instead of debootstrap")
    parser.add_argument("--into", type=Path, help="keep the folders there, which must not exist")
    options = parser.parse_args(given)
    if os.geteuid() != 0:
        parser.error("chroot and mounts need root")
    if options.base is None and shutil.which("debootstrap") is None:
        parser.error(
            "debootstrap is not there: install it (apt install debootstrap), or name a root file system (--base)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        work = options.into or Path(scratch)
        work.mkdir(parents=True, exist_ok=options.into is None)
        last = build((ROOT / "Dockerfile").read_text(encoding="utf-8"), work, options.base)
        for command in (["version"], ["demo", "--messages", "50", "--exit"]):
            print(f"trial: {shlex.join([*last.entry, *command])}", flush=True)
            enter(last, [*last.entry, *command])
        print("the image builds and runs; taking the folders away", flush=True)
    return 0


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and the rest, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def build(text: str, work: Path, base: Path | None) -> Stage:
    """Do every step; returns the last stage."""
    stages: list[Stage] = []
    for word, rest in instructions(text):
        print(f"{word} {rest}"[:160], flush=True)
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(_root_of(image, work / f"stage-{len(stages)}", base), name))
            continue
        stage = stages[-1]
        if word == "RUN":
            enter(stage, ["/bin/sh", "-c", rest])
        elif word == "COPY":
            _copy(stage, stages, shlex.split(rest))
        elif word == "ENV":
            stage.environ.update(
                (name, value) for name, _, value in (pair.partition("=") for pair in shlex.split(rest))
            )
        elif word == "WORKDIR":
            stage.folder = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        elif word == "ENTRYPOINT":
            stage.entry = json.loads(rest)
        elif word == "CMD":
            stage.arguments = json.loads(rest)
        elif word not in NOTHING_TO_DO:
            raise SystemExit(f"{word}: this tool does not know that instruction; teach it")
    return stages[-1]


def enter(stage: Stage, command: list[str]) -> None:
    """Run a command as a container would, with the stage's user, folder and environment.

    Raises:
        SystemExit: it failed.
    """
    _trust(stage.root)  # each time: a step may have installed the distribution's own certificates
    inside = f"cd {shlex.quote(stage.folder)} && exec {shlex.join(command)}"
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith(("_proxy", "_cert_file"))}
    environ = [f"{name}={value}" for name, value in {**proxies, **stage.environ}.items()]
    whole = [
        "/usr/bin/unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", ENTER, "enter", str(stage.root),
        "chroot", f"--userspec={stage.user}", str(stage.root), "/usr/bin/env", "-i", *environ, "/bin/sh", "-c", inside,
    ]  # fmt: skip
    result = subprocess.run(whole, timeout=STEP_WITHIN_S, check=False)  # noqa: S603
    if result.returncode != 0:
        raise SystemExit(f"exit code {result.returncode}: {shlex.join(command)[:200]}")


def _root_of(image: str, root: Path, base: Path | None) -> Path:
    if image not in SUITES:
        raise SystemExit(f"FROM {image}: known are {', '.join(SUITES)}")
    if base is None:
        base = root.parent / "base"
        if not base.exists():
            subprocess.run(["debootstrap", "--variant=minbase", SUITES[image], str(base)], check=True)  # noqa: S603, S607
    subprocess.run(["cp", "--archive", "--one-file-system", str(base), str(root)], check=True)  # noqa: S603, S607
    return root


def _trust(root: Path) -> None:
    """What this machine says about package indexes and certificates holds inside, too."""
    for path in (
        Path("/etc/pip.conf"),
        Path.home() / ".config/pip/pip.conf",
        Path("/etc/ssl/certs/ca-certificates.crt"),
    ):
        if path.is_file():
            target = root / (str(path).lstrip("/") if path.is_relative_to("/etc") else "etc/pip.conf")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _copy(stage: Stage, stages: list[Stage], words: list[str]) -> None:
    source_root = ROOT
    passes: Callable[[Path], bool] | None = _let_through((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    if words[0].startswith("--from="):
        name = words.pop(0).removeprefix("--from=")
        source_root, passes = next(each.root for each in stages if each.name == name), None
    *sources, target = words
    place = stage.root / (target if target.startswith("/") else os.path.join(stage.folder, target)).lstrip("/")
    for source in sources:
        origin = source_root / source.lstrip("/")
        if passes is None:
            subprocess.run(["cp", "--archive", "--no-target-directory", str(origin), str(place)], check=True)  # noqa: S603, S607
            continue
        paths = [path for path in ([origin] if origin.is_file() else origin.rglob("*")) if path.is_file()]
        for path in paths:
            if passes(path.relative_to(ROOT)):
                goal = place if origin.is_file() else place / path.relative_to(origin)
                goal.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, goal)


def _let_through(text: str) -> Callable[[Path], bool]:
    """Whether a path goes to the builder: the last pattern of `.dockerignore` that fits it, or a folder above it."""
    patterns = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]

    def passes(path: Path) -> bool:
        taken = True
        names = [path, *path.parents][:-1]
        for pattern in patterns:
            bare = pattern.removeprefix("!")
            if any(_fits(str(name), bare) for name in names):
                taken = pattern.startswith("!")
        return taken

    return passes


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(name.rsplit("/", 1)[-1], pattern.removeprefix("**/"))
    return fnmatch.fnmatchcase(name, pattern)


if __name__ == "__main__":
    sys.exit(main())
