"""Make one archive that installs LabRelay on a machine without network: wheels, lock, unit, examples, installer.

    python tools/bundle.py [--python 3.11 --python 3.12 ...] [--to dist]

It needs the network itself, to fetch what `requirements/run.lock` names; every wheel's hash is compared with the lock
here, and once more where the archive is installed. The wheels are for this machine's processor and for the Python
versions that are named (by default the one that runs this). The same inputs give the same bytes.

In the archive::

    labrelay-0.1.0/tools/install.sh          the installer of a checkout; it sees `wheels` and stays off the network
    labrelay-0.1.0/wheels/*.whl              LabRelay's own and everything in the lock
    labrelay-0.1.0/requirements/run.lock
    labrelay-0.1.0/{systemd,config,channels} unit, user, udev rule, a first site
    labrelay-0.1.0/PYTHONS                   cp311 cp312
    labrelay-0.1.0/SHA256SUMS                of every other file
"""

import argparse
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "run.lock"
CARRIED = (
    "LICENSE", "README.md", "CHANGELOG.md", "docs", "requirements/run.lock", "systemd", "config", "channels",
    "tools/install.sh",
)  # fmt: skip
# glibc of Debian 11 and of anything newer; wheels that want a newer one would not install there.
PLATFORMS = ("manylinux_2_31", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
EPOCH = 315_532_800  # 1980, the oldest time that a wheel's archive can hold


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    parser.add_argument("--python", action="append", metavar="3.N", help=f"a Python to carry wheels for ({here})")
    parser.add_argument("--to", type=Path, default=ROOT / "dist", help="folder of the archive (dist)")
    options = parser.parse_args(given)
    pythons = sorted(set(options.python or [here]), key=lambda text: [int(part) for part in text.split(".")])
    for python in pythons:
        if not re.fullmatch(r"3\.\d\d", python):
            parser.error(f"--python {python}: write it like 3.12")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    options.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / f"labrelay-{version}"
        fill(tree, pythons)
        machine = platform.machine()
        archive = options.to / f"labrelay-{version}-{machine}.tar.gz"
        pack(tree, archive)
    print(f"{archive}  {archive.stat().st_size / 2**20:.1f} MiB, for {' and '.join(pythons)}")
    print(f"sha256 {hashlib.sha256(archive.read_bytes()).hexdigest()}")
    return 0


def fill(tree: Path, pythons: Sequence[str]) -> None:
    """Everything that the archive holds, below ``tree``."""
    wheels = tree / "wheels"
    wheels.mkdir(parents=True)
    for python in pythons:
        _pip(
            "download", "--require-hashes", "--only-binary", ":all:", "--no-deps", "--dest", wheels,
            "--implementation", "cp", "--python-version", python,
            *(f"--platform={each}_{platform.machine()}" for each in PLATFORMS),
            "-r", LOCK,
        )  # fmt: skip
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT)
    for name in CARRIED:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    (tree / "PYTHONS").write_text(" ".join(f"cp{python.replace('.', '')}" for python in pythons) + "\n")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files(tree)]
    (tree / "SHA256SUMS").write_text("".join(sums))


def files(tree: Path) -> list[Path]:
    return sorted(path for path in tree.rglob("*") if path.is_file())


def pack(tree: Path, archive: Path) -> None:
    """One compressed archive: names in order, and no times, owners or umask of this machine."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = EPOCH, 0, 0, "", ""
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        return entry

    new = archive.with_suffix(".new")
    with (
        new.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in files(tree):
            tar.add(path, arcname=str(path.relative_to(tree.parent)), recursive=False, filter=plain)
    new.replace(archive)


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
    subprocess.run(  # noqa: S603 - this interpreter's own pip
        [*command, *map(str, arguments)], check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
    )


if __name__ == "__main__":
    sys.exit(main())
