"""Move the modules of house-moves.tsv with their tests, and rewrite every import and every name of them, also in texts.

    python3 house-move.py ROOT house-moves.tsv

ROOT is a clean checkout. A row names a module, a test or a whole folder; a row of one file goes before the row of its
folder. Run it again after a merge: what has moved already stays, what came by an old name moves, and texts with old
names are rewritten. Afterwards: house-wrap.py; ruff check --fix --select I,F401; ruff format; mypy.

What it cannot know: paths that are put together of parts, and lists of folders (see house-notes.md).
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT, MOVES = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
AS_THEY_ARE = ("samples/", "analyzers/", ".git-blame-ignore-revs", "CHANGELOG.md")
BINARY = (".woff2", ".png", ".gz", ".zip", ".mo", ".ico")
# What a package says that the plan makes, and that had no docstring before.
DOCSTRINGS = {
    "features": "What a laboratory does with its messages, a folder for each feature. The core names none of them.",
    "config": "The keys of this feature in the site's files.",
    "rules": "What this feature decides. Pure.",
    "wire": "The bytes of this feature's network. Pure.",
    "client": "Requests of this feature to its network.",
    "rows": "The tables of this feature, with all of its SQL.",
    "service": "What runs of this feature while a site runs.",
    "flows": "What runs of this feature, step by step.",
    "exchange": "Orders and questions between laboratory systems, the worklist and analyzers.",
    "acts": "What people do with this feature, and the arguments of each act.",
    "lists": "The lists of this feature: their fields, as tables and JSON have them.",
    "pages": "The pages of this feature.",
    "commands": "The verbs of this feature; a name with an underscore is shared by them.",
}
FEATURES = {
    "results": "Results: whose each one is, how it follows those before it, and which are held for a person.",
    "rework": "Rework: what a person does with dead letters and with messages that were mapped wrongly.",
    "codes": "Codes that no table has, corrections of code tables, suggestions of packs.",
    "todo": "The to-do list: what waits for a person, and what people say about it.",
    "reports": "Reports on a period: volume, turnaround, utilisation, downtime; and on a shift.",
    "events": "Events for other programs: a stream, and webhooks.",
    "reagents": "Reagent lots, and the messages that name them.",
    "traces": "Traces: the steps of each message as spans, for the site's collector.",
}


def module(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def git(*args: str) -> str:
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout


rows = [line.split() for line in MOVES.read_text().splitlines()[1:] if line.strip()]
paths = dict(rows)
names = {module(old): module(new) for old, new in rows}
said = {str(Path(old).parent): str(Path(new).parent) for old, new in rows if old.endswith("/__init__.py")} | paths
tracked = git("ls-files").splitlines()

# Each file's own move: of its row, else of its folder's.
moved: dict[str, str] = {}
for name in tracked:
    if name in paths:
        moved[name] = paths[name]
        continue
    for folder in (str(parent) for parent in Path(name).parents):
        if folder in paths:
            moved[name] = paths[folder] + name.removeprefix(folder)
            break
for old, new in moved.items():
    (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
    git("mv", old, new)
for old in {str(Path(old).parent) for old in moved}:  # caches keep a folder that git has emptied, and pytest finds it
    left = ROOT / old
    while left != ROOT and left.is_dir() and all(one.name == "__pycache__" for one in left.iterdir()):
        for cache in left.glob("__pycache__/*"):
            cache.unlink()
        for cache in left.iterdir():
            cache.rmdir()
        left.rmdir()
        left = left.parent
for start in ("engine/features", "workbench"):
    for folder in sorted({path.parent for path in (ROOT / start).rglob("*.py")}):
        while folder not in (ROOT / "engine", ROOT):
            if not (folder / "__init__.py").exists():
                own = FEATURES if folder.parent.name == "features" else DOCSTRINGS
                (folder / "__init__.py").write_text(f'"""{own[folder.name]}"""\n')
                git("add", str((folder / "__init__.py").relative_to(ROOT)))
            folder = folder.parent


def longest_first(known: dict[str, str]) -> str:
    return "|".join(map(re.escape, sorted(known, key=len, reverse=True)))


DOTTED = re.compile(rf"(?<![\w./])({longest_first(names)})(?!\w)")
SLASHED = re.compile(rf"(?<![\w./])({longest_first(said)})(?![\w])")
STEMS = {Path(old).stem: Path(new).stem for old, new in rows if Path(old).stem != Path(new).stem and old.startswith("tests/")}


def one_name(full: str) -> str | None:
    """The new name of a module: of its row, else by its folder's (`engine.devtools.bench` -> `workbench.bench`)."""
    if full in names:
        return names[full]
    for part in range(full.count("."), 0, -1):
        head = ".".join(full.split(".")[:part])
        if head in folders:
            return folders[head] + full.removeprefix(head)
    return None


folders = {old.replace("/", "."): new.replace("/", ".") for old, new in rows if not Path(old).suffix}


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def rewritten(source: str) -> str:
    """A module with its imports from the new places; a module that has another name now keeps the old one as alias."""
    lines, edits = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        made: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            stay = []
            for one in node.names:
                full = f"{node.module}.{one.name}"
                new = one_name(full)
                if new and is_module(new):
                    package, _, name = new.rpartition(".")
                    alias = one.asname or one.name
                    made.append(f"from {package} import {name}" + (f" as {alias}" if alias != name else ""))
                else:
                    stay.append(one.name + (f" as {one.asname}" if one.asname else ""))
            if not made and one_name(node.module) is None:
                continue
            if stay:
                made.insert(0, f"from {one_name(node.module) or node.module} import ({', '.join(stay)})")
        elif isinstance(node, ast.Import) and any(one_name(one.name) for one in node.names):
            given = ((one_name(one.name) or one.name) + (f" as {one.asname}" if one.asname else "") for one in node.names)
            made.append(f"import {', '.join(given)}")
        if made:
            edits.append((node.lineno - 1, node.end_lineno, [f"{' ' * node.col_offset}{line}\n" for line in made]))
    for start, end, made in sorted(edits, reverse=True):
        comment = re.search(r"#.*$", lines[end - 1])
        if comment and len(made) == 1:
            made[0] = f"{made[0].rstrip()}  {comment[0].rstrip()}\n"
        lines[start:end] = made
    return "".join(lines)


def deeper(source: str, by: int) -> str:
    """The checkout above a file that lies deeper now, or less deep."""
    return re.sub(
        r"(\b__file__\)(?:\.resolve\(\))?\.parents\[)(\d+)(\])",
        lambda at: f"{at[1]}{int(at[2]) + by}{at[3]}" if at.string[at.start() - 5 : at.start()] == "Path(" else at[0],
        source,
    )


changed = 0
depths = {new: new.count("/") - old.count("/") for old, new in moved.items()}
for name in git("ls-files").splitlines():
    path = ROOT / name
    if not path.is_file() or path.is_symlink() or path.suffix in BINARY or name.startswith(AS_THEY_ARE):
        continue
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        continue
    new = text
    if path.suffix == ".py":
        new = deeper(rewritten(text), depths.get(name, 0))
    new = SLASHED.sub(lambda at: said[at[1]], DOTTED.sub(lambda at: names[at[1]], new))
    if new != text:
        path.write_bytes(new.encode())
        changed += 1

# How long each test takes is kept by the name of its file.
timings = ROOT / "tests/timings.tsv"
kept = timings.read_text().splitlines()
for old, new in rows:
    was, now = Path(old).stem, Path(new).stem
    if not old.startswith("tests/") or not old.endswith(".py") or was == now or not (ROOT / new).is_file():
        continue
    own = set(re.findall(r"def (test_\w+)", (ROOT / new).read_text()))
    for at, line in enumerate(kept):
        taken, _, test = line.partition("\t")
        if test.startswith(f"{was}::") and re.split(r"[\[:]", test.split("::")[-1])[0] in own:
            kept[at] = f"{taken}\t{now}{test.removeprefix(was)}"
if kept != (again := sorted(kept, key=lambda line: line.partition("\t")[2])) or again != timings.read_text().splitlines():
    timings.write_text("\n".join(again) + "\n")

pyproject = ROOT / "pyproject.toml"
text = pyproject.read_text()
if '"workbench"' not in text:
    text = text.replace('packages = ["engine", "adapters"', 'packages = ["engine", "adapters", "workbench"')
    pyproject.write_text(text)
ignored = ROOT / ".dockerignore"
if "!workbench" not in (text := ignored.read_text()):
    ignored.write_text(text.replace("!systemd\n", "!systemd\n!workbench\n"))
print(f"{len(moved)} files moved, {changed} files rewritten")
