"""What people do about messages: retry, dismiss, replay. The same code in the daemon and, without one, in a command.

A *selection* says which; it is resolved when the act runs, and again when it is repeated, so nothing is closed or sent
that has changed meanwhile. Each act is a row of the journal before it starts and another when it has ended (P2, P5),
so that a crash amid a replay of thousands is known.

    retry     dead deliveries wait again in their old places; dead messages are processed again with today's mapping,
              oldest first. Incomplete messages stay: a prefix is never a result.
    dismiss   a named person says, with a reason, that these need nothing more
    set aside a named person takes one delivery that never succeeds out of its lane's way: a dead letter from then on
    edit      a named person corrects a dead message; its bytes as received stay, and are closed
              (`engine.store.operations.edit_message`)
    release   a named person lets results go that a rule of their route keeps back; only this does
              (`engine.store.operations.hold_queue`)
    reject    a named person says, with a reason, that such results are never delivered
    erase     what is stored of a patient goes (`engine.store.lifecycle.erasure`)
    replay    stored documents go out again at the end of their lanes, at a bounded rate
    reprocess messages are mapped again, and what differs from what was delivered goes out, at a bounded rate

selection      which messages or dead letters an act is about
underway       `Acts`: the row before, the work, the row after; every act is a function that is given it
retry, hold_decisions, set_aside, erase, edit, replay, reprocess, tell_apart, noting
               one kind of act each
"""
