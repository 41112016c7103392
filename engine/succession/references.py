"""References of a Bundle, changed or taken out. Pure."""

from collections.abc import Collection, Mapping
from typing import Any


def refer(value: Any, names: Mapping[str, str]) -> None:
    """Change references, in place: ``names`` gives the new one for an old one."""
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str) and reference in names:
            value["reference"] = names[reference]
        for inner in value.values():
            refer(inner, names)
    elif isinstance(value, list):
        for inner in value:
            refer(inner, names)


def refer_no_more(value: Any, absent: Collection[str]) -> None:
    """Take references to these out of the lists that have them, in place; a list of nothing else goes, too."""
    if isinstance(value, dict):
        for name, inner in list(value.items()):
            refer_no_more(inner, absent)
            if isinstance(inner, list) and any(_refers(one, absent) for one in inner):
                value[name] = [one for one in inner if not _refers(one, absent)]
                if not value[name]:
                    del value[name]
    elif isinstance(value, list):
        for inner in value:
            refer_no_more(inner, absent)


def _refers(value: Any, names: Collection[str]) -> bool:
    return isinstance(value, dict) and value.get("reference") in names
