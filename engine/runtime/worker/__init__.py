"""`workers: 1`: mapping and delivery in a second process.

    main process                                     worker process
    sockets, journal, leases, lanes, retries         no database, no journal
        | map: a message                                 process: parse, routes, mapping; documents compressed
        | <- outcome: documents, reason, issues
    commit (documents, outbox rows, state)
        | deliver: a delivery and its document           destination.deliver
        | <- delivered | failed
    settle | postpone | bury

They communicate over one socket pair. The worker holds nothing irreplaceable: its work under way when it dies is
processed again, or delivered again under the same key.

- One logic: intake asks a processor, a destination's worker has a destination, and either may be in another process.
  Outcomes come back in the order of asking, so lanes are numbered as in one process.
- Bounds: at most 512 messages or 8 MiB, and 512 deliveries or 8 MiB, are with the worker. Acknowledgements never wait
  for it. It compresses documents once, so that one of 32 kB crosses the pipe as 3 kB. The main process seals them: that
  takes 1 us, and the worker would need the journal's keys for it.
- A worker that ends, or is silent for 15 s (for large messages: 120 s) and then ended, is replaced, with a back-off of
  up to 5 s. Its messages are processed again, one at a time first; one that ends three workers in a row is dead
  (``MAPPING_FAULT``). Its deliveries fail with ``MAYBE_DELIVERED``, which leaves the breaker alone, and go out again.
- A main process that ends takes the worker with it: the socket closes, and where the worker hangs the kernel ends it
  (``PR_SET_PDEATHSIG``). Signals for the whole group are the main process's to act on.
- A reload is built in the main process first, with all its errors. Then messages that are not processed yet are taken
  back, and the worker gets the new configuration between two messages. Both must come to the same configuration hash.
- While the worker is behind with mapping, the main process delivers to destinations of several connections. So the
  busiest of the two has about half of the work, whatever a mapping or a delivery costs.
- Without a worker (it cannot start, or files have changed without a reload) the main process maps and delivers, says so
  on the page, and goes on trying to start one.
- The identity key goes over the socket, never through arguments or the environment.

wire      frames in bytes (pure)          child        the worker's side, `python -m engine.runtime.worker`
frames    content of each frame (pure)    process      the main process's side: start, watch, replace
pipe      the socket, writes in batches   processor, destination   what intake and delivery see of it
"""
