"""How much the log of a site writes, and whether the disk has room for it."""

import shutil
from pathlib import Path

from engine.config.load import Site
from engine.model.health import Health, Line
from engine.model.log_limits import LINE_BYTES, bad_day_lines, most_lines_a_day
from engine.model.units import size_text

PLACES = ("/var/log/journal", "/var/log")  # of journald, and of other programs that keep logs
DAYS = 30  # bad ones, which the disk has to have room for


def budget(site: Site, place: Path | None = None) -> Line:
    """The line for the log.

    Args:
        place: the folder that logs are kept in; by itself the first of `PLACES` that is there.
    """
    processes = 1 + site.config.workers
    channels = sum(channel.enabled for channel in site.channels.values())
    lines = bad_day_lines(channels, len(site.config.destinations), processes)
    most = most_lines_a_day(processes)
    text = (
        f"some hundred lines on a good day, {lines:,} on a bad one ({size_text(lines * LINE_BYTES)}),"
        f" never more than {most:,} ({size_text(most * LINE_BYTES)})"
    )
    found = place if place is not None else next((one for one in map(Path, PLACES) if one.is_dir()), None)
    if found is None:
        return Line(Health.OK, "log", text)
    free = shutil.disk_usage(found).free
    if DAYS * lines * LINE_BYTES <= free:
        return Line(Health.OK, "log", text)
    return Line(
        Health.WARN,
        "log",
        f"{text}; {DAYS} bad days do not fit into the {size_text(free)} that are free at {found}",
        "limit what is kept: SystemMaxUse= in /etc/systemd/journald.conf, or rotate",
    )
