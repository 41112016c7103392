"""The bounds on the log, and how much a bad day writes at most (docs/operations.md)."""

REPEAT_WINDOW_S = 60.0  # an event is written once in it
LINES_AN_HOUR = 3600  # of each level below critical
LEVELS = 3  # info, warning, error; at the usual level
LINE_BYTES = 300  # a usual line, as JSON
DAY_H = 24
MOST_LINES_A_DAY = LINES_AN_HOUR * LEVELS * DAY_H


def bad_day_lines(channels: int, destinations: int) -> int:
    """Lines of a day on which each channel and each destination has two kinds of trouble without end."""
    each = round(86_400 / REPEAT_WINDOW_S)
    return min(2 * each * (channels + destinations), MOST_LINES_A_DAY)
