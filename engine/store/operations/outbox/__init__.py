"""The outbox: deliveries and their states. Operations of a writer's batch; nothing here drops work.

    (queued) -> waiting -> sending -> delivered
    sending  -> waiting      postpone: an attempt failed, another will follow
    sending  -> dead         bury; retry brings it back to waiting with its number, so in its old place
    waiting, dead, held -> superseded | dismissed         a newer result was delivered | a named person decided
    (queued) -> held         a rule of the route keeps it back; no lane waits for it
    held     -> waiting      release by a named person, with its number, so in its old place
    held     -> rejected     a named person decided that it is never delivered

``sending`` means claimed under the lease (boot number) of a running process. After a crash the leases of earlier
processes are void: such deliveries wait again, marked *maybe delivered*, and go out with the same key.

Each transition goes through `moving.move`, which keeps the gauges of the lane in the same transaction.

queueing    new deliveries
claims      deliveries that a worker has taken
attempts    the result of one attempt
decisions   deliveries closed or reopened otherwise
moving      the one place where a state changes
"""
