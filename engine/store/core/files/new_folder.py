"""The target folder of a salvage or restore: nothing in it is ever overwritten."""

from pathlib import Path

from engine.model.errors import StoreError
from engine.store.core.files.durable import sync_folder, sync_way_to

SALVAGING, RESTORING = "salvaging-", "restoring-"  # prefixes of the working folders
_WORK = {SALVAGING: "salvage", RESTORING: "restore"}


def publish(scratch: Path, target: Path, *, last: str) -> None:
    """Move finished files into their folder, durably; ``last`` goes last: without it the folder is not in use."""
    for entry in sorted(scratch.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(target / entry.name)
    sync_folder(target)
    sync_way_to(target)


def raise_if_in_use(target: Path) -> None:
    """
    Raises:
        StoreError: it is not empty; the error names a leftover of an interrupted run.
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
