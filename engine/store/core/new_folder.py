"""The folder that a salvage or a restoration is to make: nothing in it is ever written over."""

from pathlib import Path

from engine.model.errors import StoreError

SALVAGING, RESTORING = "salvaging-", "restoring-"  # beginnings of the folders in which the work is done
_WORK = {SALVAGING: "salvage", RESTORING: "restore"}


def raise_if_in_use(target: Path) -> None:
    """
    Raises:
        StoreError: it is not empty; its text says so where one that was interrupted has left that.
        OSError: it is no folder, or cannot be read.
    """
    if not target.exists():
        return
    names = sorted(entry.name for entry in target.iterdir())
    for prefix, work in _WORK.items():
        left = next((name for name in names if name.startswith(prefix)), "")
        if left:
            raise StoreError(
                f"{target}: not empty: {left} in it is of a {work} that was interrupted, or still runs. Name another "
                f"folder: a {work} begins anew, and needs nothing of that one (where none runs, {left} can be removed)"
            )
    if names:
        raise StoreError(f"{target}: not empty; name a folder that is new, for nothing is ever written over")
