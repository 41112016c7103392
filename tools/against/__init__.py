"""`make bench-against`: this checkout beside other commits, in turns, under one load and one sink.

    python -m tools.against                   beside the parent commit and the anchor: all figures
    python -m tools.against REF [REF ...]     beside these commits
    python -m tools.against --gate            counts and time in process alone; what continuous integration runs
    python -m tools.against --move-anchor REASON [--mechanism]    make HEAD the anchor

Load, sink and probes are of this checkout; each program has the packages of its own lock. The run ends with exit code 1
where a figure exceeds its limit (`tools.against.verdict`). `anchor.yaml` names the commit that later ones are held
against, so that many small steps cannot add up.
"""
