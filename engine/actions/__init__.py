"""People's actions on messages: retry, dismiss, replay. The same code runs in the daemon and, without one, in a
command.

A *selection* names the messages; it is resolved when the action runs, and again when it is repeated, so nothing is
closed or sent that has changed meanwhile. Each action is a row of the journal before it starts and another when it has
ended (P2, P5), so that one cut short by a crash is known; an operation goes on after it.

    retry     dead deliveries wait again in their old places; dead messages are processed again with today's mapping,
              oldest first. Incomplete messages stay: a prefix is never a result.
    dismiss   a named person closes them, with a reason: they need nothing more
    set aside a named person takes one delivery that never succeeds out of its lane's way: it becomes a dead letter
    edit      a named person corrects a dead message; the received bytes stay in the journal, closed
              (`engine.features.rework.rows.edit_message`)
    release   a named person sends results that a rule of their route keeps back; only this does
              (`engine.features.results.rows.hold_queue`)
    reject    a named person decides, with a reason, that such results are never delivered
    erase     a patient's stored data is erased (`engine.store.lifecycle.erasure`)
    replay    stored documents go out again at the end of their lanes, behind new messages (`yielding`)
    reprocess messages are mapped again, and differences from the delivered results are sent, at a bounded rate

selection      the messages or dead letters of an action
underway       `Acts`: the row before, the work, the row after; every action is a function that gets it
operations     actions on many letters, in slices
declaring      how an act is declared, to the control socket and the API; `verbs` has all
erase, pause_resume
               one kind of action each; the acts of a feature are in its ``acts``
"""
