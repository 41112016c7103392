"""Snapshots: all that a person, a monitor or a script may see of the running site at one moment. Pure values.

The daemon builds one `SiteSnapshot` at most once a second; the status page, ``/status.json``, ``/metrics`` and
``labrelay status`` all read the same one, so they never contradict each other, and no request touches the journal. It
has no data from inside a message: names, counts, ages, addresses, reason codes.

Instants are aware UTC datetimes, durations are seconds, sizes are bytes, "today" is the site's local day.
`to_json` is a promise to scripts: a field is never renamed or given another meaning without a new `SCHEMA_VERSION`;
new fields may appear.

states     states of a channel or destination, and their urgency
channels   channels, destinations, lanes, connections
site       the whole: `SiteSnapshot`; the journal, its copies, sentences about parts of the site
"""
