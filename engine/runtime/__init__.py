"""The running site: composition, sources, supervision, scheduled work, the process for large messages.

app            start, reload and stop, in order
build          from configuration to compiled channels
service        what features run beside that, at each moment of the site
parts          sources, intake and destination workers; a reload replaces those that differ
switching      a person's pause, resume and restart of a part
large/         the process for large messages, while there are any
observing/     one snapshot a second, and its parts
upkeep/        copies, reading the journal, the second anchor, certificates
"""
