"""One destination: claim -> deliver -> settle, for all of its lanes. A failure of one destination affects no other
(P6).

A *lane* is channel + destination, the unit of order (P3): with ``order: channel`` at most one of its deliveries is in
flight, and a failed one is retried before the next. ``order: specimen`` keeps the order only among deliveries that
share a report, ``order: none`` keeps none. Lanes never wait for each other, except for three things that belong to the
destination as a whole: its concurrency, its breaker, and conditional keys that it has not confirmed yet.

The places of a delivery:

    intake reserves a place -> born claimed, kept in memory -> queue -> in flight -> settled | buried
                                                                 ^          | postponed (row: not before t)
    no place (or lane has a backlog) -> born waiting, in the store only     v
                                                  claim, in order ------> delayed -> queue

Invariant: memory always holds the oldest of a lane's open deliveries, in order. A lane with waiting rows in the store
(``spilled``) takes no new place in memory until a claim finds no further rows. Where a person's action brings older
rows back, the deliveries in memory are given back to the store and all are claimed anew.

``drain: newest-first`` claims from the end of the rows and takes from the end of memory. The invariant does not hold
there, so a claim names the deliveries in memory, and when a destination comes back all of them are given back first. A
delivery that is older than one that went before it is closed (older versions of the same results), held
(``OVERTAKEN``), or sent: `engine.features.results.rows.superseding` decides. An older one waits for a newer one that
the server may have; after five attempts of the newer one it goes, if the two have no test in common.

``conflicts: check`` writes the last known versions of the resources into the body as ``ifMatch``, in the main process;
the answer is stored in the transaction that settles the delivery.

A paused destination or lane gives back its deliveries in memory and claims nothing. An attempt checks once more right
before it is made, so that none begins after the order to pause was answered.

The parts of a worker, each with one duty; `DestinationWorker` creates them and connects each to the others that it
needs:

events           the log, the counts, and callbacks at the end of a delivery
lane             one lane: which of its deliveries may go next
lane_memory      the lanes, and their deliveries in memory
outcome_writer   writes outcomes without waiting, also while the store fails
claims           claims rows and gives them back
conditions       updates require the server's version to be our last one
outage           whether the destination as a whole is down
settlement       the result of an attempt: settled, postponed, buried
attempts         one delivery: guard, attempt, settle
worker           starts lanes and attempts, gives intake places, follows people's orders
"""
