"""From a connection to the journal, and the answer. `channel` has the one place where bytes are acknowledged.

With ``ack: on_delivery`` the answer also waits until `outcomes` knows that every delivery of the message was made.
It never replaces the wait for the journal, and nothing of it is durable: a sender that got no AA in time sends again,
and that repeat waits for the outcome of the first.

ASTM: EOT gets no answer and some analyzers send no L record, so each frame is committed before its ACK (``commit:
message``: only the frame that ends the message). The frame that completes a message and the message are one
transaction. A start assembles committed frames that hold a whole message first; frames without their end become
*incomplete*: kept, shown, never a result.

Unfinished messages of all connections share one memory (`engine.model.process.receive_memory`). Where it is used up,
the connection that holds most of it is cut, and its bytes are kept as incomplete. Before the writer has a large
message, `large` hashes and compresses it in a thread.

A tee answers nothing (`tee`). The line and the listening are two things, so the second never holds up the first:

    adapters.transports.tee    read -> queue beside the line -> write to the other end    no byte waits for LabRelay
    tee                        queue -> listener -> backlog -> journal                    retried until stored, bounded

The listener takes what the other side has acknowledged. Messages of the middleware are *filtered* (``OVERHEARD``) in
the transaction that journals them, so no moment exists in which they could be mapped. P1 does not hold for a tee.
"""
