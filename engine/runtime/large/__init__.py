"""Large messages are processed in a process of their own, which exists only while there are any.

    main process                                     the process for large messages
    sockets, journal, leases, lanes, deliveries      no database, no journal, no destination
        | map: a message                                 process: parse, routes, mapping; documents compressed
        | <- outcome: documents, reason, issues
    commit (documents, outbox rows, state)

Parsing and mapping a report of 40 MiB takes seconds, and single steps of it hundreds of milliseconds in which no other
thread of its process runs: a thread would delay every acknowledgement. They communicate over one socket pair. The
process holds nothing irreplaceable: a message under way when it dies is processed again.

- It has one message at a time, so it holds one; the others wait here, compressed. It compresses documents, so that one
  of 32 kB crosses the pipe as 3 kB. The main process seals them: that takes 1 us, and the process would need the
  journal's keys for it.
- One that ends, or is silent for 120 s and then ended, is replaced, with a back-off of up to 5 s. A message that ends
  three in a row is dead (``MAPPING_FAULT``).
- A main process that ends takes it with it: the socket closes, and where it hangs the kernel ends it
  (``PR_SET_PDEATHSIG``). Signals for the whole group are the main process's to act on.
- A reload is built in the main process first, with all its errors. Then messages that are not processed yet are taken
  back, and the process gets the new configuration. Both must come to the same configuration hash.
- Where none can be started, or files have changed without a reload, the main process maps large messages itself, and
  goes on trying to start one.
- The identity key goes over the socket, never through arguments or the environment.

wire      frames in bytes (pure), the socket     child       its side, `python -m engine.runtime.large`
frames    content of each frame (pure)           process     the main process's side: start, watch, replace
messages  which are large, and while there are   processor   the messages that wait for it
          any the process
"""
