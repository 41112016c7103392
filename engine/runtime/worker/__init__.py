"""`workers: 1`: mapping and delivery in a second process.

    main process                                     worker process
    sockets, journal, leases, lanes, retries         no database, no journal
        | map: a message                                 process: parse, routes, mapping; documents compressed
        | <- outcome: documents, reason, issues
    commit (documents, outbox rows, state)
        | deliver: a delivery and its document           destination.deliver
        | <- delivered | failed
    settle | postpone | bury

They speak over one socket pair. The worker holds nothing that would be missed: what it had under way when it dies is
processed again, or delivered again under the same key.

wire      frames in bytes (pure)          child        the worker's side, `python -m engine.runtime.worker`
frames    what each frame says (pure)     process      the main process's side: start, watch, replace
pipe      the socket, writes in batches   processor, destination   what intake and delivery see of it
"""
