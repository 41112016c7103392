"""Break comments and docstrings that longer names have made longer than 120 characters; what follows is left alone.

    python3 house-wrap.py ROOT
"""
import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(sys.argv[1]).resolve()
LIMIT = 120


def prose(text: str) -> set[int]:
    """Lines of comments that stand alone, and of docstrings."""
    found = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= set(range(node.lineno, node.end_lineno + 1))
    return found


def wrapped(text: str) -> str:
    while True:
        known = prose(text)
        lines = text.split("\n")
        at = next((n for n, line in enumerate(lines) if len(line) > LIMIT and n + 1 in known and "noqa" not in line), None)
        if at is None:
            return text
        line = lines[at]
        lead = line[: len(line) - len(line.lstrip())]
        mark = "# " if line.lstrip().startswith("# ") else ""
        cut = line.rfind(" ", len(lead) + len(mark) + 1, LIMIT + 1)
        if cut < 0:
            return text
        first, rest = line[:cut], line[cut + 1 :].lstrip()
        after = lines[at + 1] if at + 1 < len(lines) else ""
        goes_on = (
            at + 2 in known
            and after.startswith(lead + mark)
            and after[len(lead + mark) :][:1] not in ("", " ", "-", '"')
            and not rest.endswith('"""')
            and not first.lstrip().startswith(("Args", "Attributes"))
            and (len(first) > 95)
        )
        if goes_on:
            lines[at : at + 2] = [first, f"{lead}{mark}{rest} {after[len(lead + mark) :]}"]
        else:
            lines[at : at + 1] = [first, f"{lead}{mark}{rest}"]
        text = "\n".join(lines)


count = 0
for name in subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split():
    path = ROOT / name
    if path.is_file() and (new := wrapped(old := path.read_text())) != old:
        path.write_text(new)
        count += 1
print(f"{count} files wrapped")
