"""The faults that LabRelay is tried with: what is broken, how, how much of it, and what must hold.

Each entry names the tests that do it. A test file may say more about itself than its entry does. docs/reliability.md
has a row for each with its promise, docs/figures-faults.md the figures of the last run. `quick` runs with
`make test-all`, `long` with `make faults`, `soak` with `make soak`.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry.

    Attributes:
        number: as in T1.
        how: what the tests do.
        passes: what must hold for it to pass, beyond the oracle's own conditions.
        quick, long, soak: how much of it at each scale; ``soak`` is empty where it is the same as ``long``.
        seconds: the share of `make faults` that it may take.
        nodes: pytest nodes, a file or one test in it; parameters left out.
        takes_the_rest: it runs last, and may take all the time that the others have left over.
        unproven: what it does not prove.
    """

    number: int
    fault: str
    how: str
    passes: str
    nodes: tuple[str, ...]
    quick: str
    long: str
    soak: str = ""
    seconds: int = 30
    takes_the_rest: bool = False
    unproven: str = ""

    @property
    def name(self) -> str:
        return f"T{self.number}"


FAULTS: tuple[Fault, ...] = (
    Fault(
        number=1,
        fault="kill -9 under load",
        how="The daemon with a channel each over MLLP, ASTM TCP and a pseudo-terminal is killed at random moments "
        "while analyzers send; with one process and two, with a healthy and a troubled server.",
        passes="lost=0, dup_unflagged=0, reordered=0",
        nodes=("tests/faults/test_kill.py",),
        quick="14 kills", long="1,000 kills", seconds=60, takes_the_rest=True,
        unproven="A killed process loses nothing that it gave to the kernel: see T3 for a power cut.",
    ),
    Fault(
        number=2,
        fault="kill at each named step",
        how="The process kills itself at each named step: receive, commit, anchor, answer, map, claim, send, settle, "
        "act begun, act ended and others; just before each write and sync of a short life; and before each statement "
        "and commit of an upgrade of the journal, and around each step of the copy made before it.",
        passes="lost=0 at every step; after a kill amid an upgrade the journal has one schema or the next, whole, and "
        "the next start comes to its end",
        nodes=(
            "tests/faults/test_named_steps.py",
            "tests/faults/test_store_kill.py",
            "tests/faults/test_upgrade_kill.py::test_an_upgrade_that_is_killed_anywhere_is_begun_or_done_and_loses_nothing",
        ),
        quick="9 steps", long="every step, before and after, at its 1st and 4th time", seconds=170,
    ),
    Fault(
        number=3,
        fault="power loss",
        how="The order of write, sync and answer as the kernel saw it (strace). And at each write, truncation and sync "
        "of a short life the power goes: what was not synced is taken back from database, log and anchor, all of it or "
        "a part that chance chooses. And beneath the kernel: the whole site lies on a file system of the test's own "
        "(FUSE), the daemon under load is killed at any moment or amid any change that reaches the disk, its start "
        "included, or amid an upgrade of the journal; then unsynced writes, and names in unsynced folders, "
        "are gone, all or a part.",
        passes="each acknowledged unit was synced before its answer; every promise is kept; lost=0; what counts as "
        "delivered into a folder is there; a journal that does not sync is found out",
        nodes=(
            "tests/faults/test_syscalls.py",
            "tests/faults/test_io_errors.py::test_a_power_cut_at_each_step_costs_nothing_that_was_promised",
            "tests/faults/test_io_errors.py::test_a_store_that_does_not_sync_is_noticed",
            "tests/faults/test_power_cut.py",
            "tests/faults/test_upgrade_kill.py::test_an_upgrade_that_the_power_leaves_anywhere_is_begun_or_done_and_loses_nothing",
        ),
        quick="some 20 power cuts, 12 beneath the kernel",
        long="a power cut at every step, twice; 250 beneath the kernel", seconds=165,
        unproven="A disk that lies about its syncs. The trials beneath the kernel need root and /dev/fuse; elsewhere "
        "it is skipped.",
    ),
    Fault(
        number=4,
        fault="full disk",
        how="A tmpfs filled to the last byte under load; `max_page_count` and `RLIMIT_FSIZE` at every step of a write; "
        "full, then room again.",
        passes="no answer while full, goes on by itself, lost=0, alarm at once",
        nodes=(
            "tests/faults/test_full_disk.py",
            "tests/faults/test_store_disk.py",
            "tests/faults/test_daemon.py::test_while_the_disk_is_full_nothing_is_acknowledged_and_then_all_goes_on",
        ),
        quick="2 full disks", long="20 full disks", seconds=35,
    ),
    Fault(
        number=5,
        fault="nothing left on the disk, and a person must act",
        how="The same full tmpfs: a dead letter is dismissed and payloads are unmasked (entries of the audit trail) "
        "while no byte is left, from the reserve; a daemon starts there.",
        passes="acts succeed at 0 bytes free; the reserve is made again once there is room",
        nodes=(
            "tests/faults/test_full_disk.py::test_nothing_is_acknowledged_people_can_act_and_all_goes_on",
            "tests/faults/test_full_disk.py::test_a_start_on_a_full_disk_takes_the_room_that_a_killed_process_has_kept",
            "tests/faults/test_full_disk.py::test_a_disk_without_room_for_a_reserve_goes_without_one",
        ),
        quick="2 full disks", long="20 full disks", seconds=20,
        unproven="The reserve is 4 MiB in these tests, in place of 64 MiB.",
    ),
    Fault(
        number=6,
        fault="damaged files",
        how="A thousand random mutations of database, log, anchor and key: bits flipped, tails cut, pages overwritten, "
        "files missing, another key. And a thousand runs without any, each ended by a kill.",
        passes="every mutation that harms an acknowledged row is found, rows that are whole are served, nothing falls "
        "over; no false alarm",
        nodes=("tests/faults/test_random_damage.py", "tests/faults/test_store_damage.py"),
        quick="80 mutations, 20 clean runs", long="1,000 mutations, 1,000 clean runs", seconds=150,
    ),
    Fault(
        number=7,
        fault="I/O errors",
        how="Each write, truncation and sync of database and log fails in turn, from the making of the journal on; "
        "after a failed sync what was not synced is dropped, too. And the daemon under load meets a failing sync.",
        passes="never an answer after a failed sync; the process ends (exit code 6) and does not try again in place; "
        "nothing acknowledged is missing afterwards",
        nodes=(
            "tests/faults/test_io_errors.py::test_each_write_that_fails_costs_only_what_was_not_promised",
            "tests/faults/test_io_errors.py::test_after_each_sync_that_fails_the_process_ends_and_nothing_promised_is_missing",
            "tests/faults/test_io_errors.py::test_the_daemon_ends_at_once_when_a_sync_fails_and_starts_again",
            "tests/faults/test_store_disk.py::test_after_a_failed_sync_nothing_is_promised_and_nothing_tried_again",
            "tests/faults/test_store_disk.py::test_all_that_waits_is_refused_when_a_sync_fails",
        ),
        quick="some 40 failures", long="every step", seconds=110,
    ),
    Fault(
        number=8,
        fault="destination down for 24 hours",
        how=(
            "An injected clock lets a day pass, with one message a second; the page shows the age, the "
            "number waiting and how long the disk lasts. Then the destination is back."
        ),
        passes="lost=0, order kept, attempts bounded, one line at each end, memory bounded, drained one at a time",
        nodes=(
            "tests/faults/test_destination_away.py::test_a_day_without_the_destination_costs_nothing_and_is_drained_in_order",
            "tests/site/test_outage.py",
        ),
        quick="1,200 messages",
        long="86,400 messages, or as many as fit into the time",
        soak="259,200 messages (72 hours)",
        seconds=160,
    ),
    Fault(
        number=9,
        fault="slow destination",
        how="Answers that take 30 s and more by the clock, beside a destination that is well and shares a channel.",
        passes="other destinations as before; memory bounded",
        nodes=(
            "tests/faults/test_destination_away.py::test_a_slow_destination_is_nobody_elses_business",
        ),
        quick="600 messages",
        long="12,000 messages, or as many as fit into the time",
        seconds=30,
    ),
    Fault(
        number=10,
        fault="flapping destination",
        how=(
            "Half of the requests fail: 503, reset before they are read, taken and the answer lost; now and "
            "then all of them."
        ),
        passes="lost=0, dup_unflagged=0, the breaker's changes are logged",
        nodes=(
            "tests/faults/test_destination_away.py::test_a_flapping_destination_gets_everything_in_order_and_nothing_under_two_keys",
        ),
        quick="300 messages",
        long="8,000 messages",
        seconds=60,
    ),
    Fault(
        number=11,
        fault="poison message",
        how="Unreadable messages; floods of segments, repetitions, components, escapes; a mapping that falls over or "
        "gives up, a destination that answers 422, and a message whose processing ends the whole process.",
        passes="a dead letter with its reason; the next message is delivered",
        nodes=(
            "tests/faults/test_poison.py", "tests/faults/test_deadly_message.py",
            "tests/documents/test_hostile_messages.py",
        ),
        quick="each kind once", long="each kind ten times", seconds=25,
    ),
    Fault(
        number=12,
        fault="clock jumps",
        how="The wall clock of a running site is moved under load while deliveries wait for their next attempt: steps "
        "of half a second and a second, an hour forward and back, a year ahead, to 1970 and back.",
        passes="no storm of attempts, no stall, lost=0; the move is shown and is a row of the audit trail",
        nodes=("tests/faults/test_machine.py::test_a_clock_that_is_moved_neither_stalls_nor_storms",),
        quick="9 moves", long="45 moves", seconds=30,
        unproven="The clock is the daemon's, not the machine's: SQLite and the kernel keep the right time.",
    ),
    Fault(
        number=13,
        fault="half-open TCP",
        how=(
            "Site and analyzers in two network namespaces, and the cable is cut without a word: an idle "
            "connection, one in mid-message, one that never hears our answer."
        ),
        passes="noticed within 90 s, the place is free again",
        nodes=(
            "tests/faults/test_half_open.py",
            "tests/adapters/transports/test_tcp.py::test_a_vanished_peer_is_found_by_the_system",
        ),
        quick="3 connections, timers of seconds",
        long="3 connections, timers as they are",
        seconds=80,
        unproven="Needs root; elsewhere it is skipped, and only the socket options are looked at.",
    ),
    Fault(
        number=14,
        fault="slowloris",
        how=(
            "500 connections, each with a place of its own, send a byte now and then; analyzers connect and "
            "send meanwhile. And 600 that say nothing, where there are 32 places."
        ),
        passes="every one is cut at its deadline, analyzers are served at once, the caps hold",
        nodes=(
            "tests/faults/test_bad_peers.py::test_peers_that_trickle_are_cut_at_their_deadline_and_analyzers_are_served",
            "tests/faults/test_daemon.py::test_crowds_of_useless_connections_do_not_keep_an_analyzer_out",
        ),
        quick="500 connections, a deadline of 4 s",
        long="500 connections, the deadline of 60 s",
        seconds=75,
    ),
    Fault(
        number=15,
        fault="message without end",
        how=(
            "A stream without a terminator over MLLP and ASTM, with a sender that comes back whenever it is "
            "cut off; many of them side by side."
        ),
        passes="cut at the limit; memory grows by no more than twice the limit and 24 MiB",
        nodes=(
            "tests/faults/test_bad_peers.py::test_a_stream_without_an_end_takes_no_more_than_a_message_may",
            "tests/faults/test_daemon.py::test_a_block_without_end_is_cut_and_the_memory_with_it",
            "tests/faults/test_daemon.py::test_many_blocks_without_end_share_one_memory",
        ),
        quick="48 MiB each",
        long="1 GiB each",
        seconds=30,
    ),
    Fault(
        number=16,
        fault="parser fuzz",
        how=(
            "Properties over generated bytes and chunks (hypothesis); the inputs that a coverage-guided "
            "fuzzer (atheris) found are replayed. `make fuzz` goes on from there, on MLLP, ASTM link, E1394, "
            "HL7, JSON, YAML, expressions, whole mappings and callbacks of ABDM."
        ),
        passes="no crash, no hang over 1 s, no memory over the cap; what comes out does not depend on the chunks",
        nodes=(
            "tests/tooling/test_fuzz_corpus.py",
            "tests/adapters/codecs/hl7v2/test_mllp_link.py",
            "tests/adapters/codecs/astm/test_astm_link.py",
            "tests/adapters/codecs/hl7v2/test_hl7v2_hostile.py",
            "tests/adapters/codecs/hl7v2/test_hl7v2_parse.py",
        ),
        quick="the kept inputs",
        long="the kept inputs",
        soak="the kept inputs; `make fuzz` by itself",
        seconds=25,
    ),
    Fault(
        number=17,
        fault="differential parse",
        how=(
            "Samples, made-up messages, the fuzzer's inputs and the whole corpus through python-hl7, the "
            "corpus through hl7apy as well."
        ),
        passes="every difference is explained",
        nodes=(
            "tests/documents/test_differential_parse.py",
            "tests/adapters/codecs/hl7v2/test_hl7v2_corpus.py",
        ),
        quick="all of it",
        long="all of it",
        seconds=20,
    ),
    Fault(
        number=18,
        fault="ASTM faults",
        how=(
            "Bad sums, skipped and repeated frames, lost answers, contention, ETB splits, a missing EOT, the "
            "timers of 15 and 30 s; both sides of the link as a state machine under any sequence of faults; "
            "whole sessions of simulated analyzers."
        ),
        passes="refused or dropped as specified; a prefix never becomes a result",
        nodes=(
            "tests/adapters/codecs/astm/test_astm_link.py",
            "tests/adapters/codecs/astm/test_astm_both_sides.py",
            "tests/adapters/codecs/astm/test_astm_sender.py",
            "tests/faults/test_simulated_sessions.py",
        ),
        quick="200 sessions",
        long="2,000 sessions",
        soak="10,000 sessions",
        seconds=45,
    ),
    Fault(
        number=19,
        fault="repeated control ids",
        how=(
            "Within the window the same bytes, and other bytes, under one control id; both again after a year, and "
            "the same bytes once more at once. Histories of control ids, times, answers and hours: a table, and random "
            "ones."
        ),
        passes=(
            "answered again and not sent on, where something says that it is a repeat; else sent on and flagged, under "
            "a key of its own; after a year sent on, where every byte is the same under the key that the destination "
            "knows"
        ),
        nodes=(
            "tests/faults/test_races.py::test_a_control_id_that_comes_again_is_a_repeat_or_another_message",
            "tests/results/test_identity.py::test_one_control_id_with_other_bytes_is_delivered_and_flagged",
            "tests/results/test_repeats.py",
            "tests/engine/store/operations/test_random_repeats.py",
        ),
        quick="6 messages",
        long="6 messages",
        seconds=20,
    ),
    Fault(
        number=20,
        fault="late, crossed, garbage answers",
        how="A scripted receiver answers late, crossed, twice, half, without end, or with another's number.",
        passes="never credited to the wrong message",
        nodes=(
            "tests/adapters/destinations/test_mllp_out.py",
        ),
        quick="each once",
        long="each once",
        seconds=20,
    ),
    Fault(
        number=21,
        fault="serial line pulled",
        how=(
            "A pseudo-terminal that is pulled out in mid-frame, comes back as another device under the same "
            "name, and is full of noise; adapters that lie, hang or come and go."
        ),
        passes="CPU below 5 % while it is away, opened again, what was half-way kept as incomplete, lost=0",
        nodes=(
            "tests/faults/test_serial_pull.py",
            "tests/engine/runtime/test_serial_site.py",
            "tests/adapters/transports/test_serial_line.py",
        ),
        quick="each once",
        long="each once",
        seconds=45,
        unproven="A pseudo-terminal has no baud rate and no parity: a wrong one is played as noise.",
    ),
    Fault(
        number=22,
        fault="no file descriptors left",
        how="The daemon may open 64 files, and crowds connect.",
        passes="no loss, the listener recovers, few lines in the log",
        nodes=("tests/faults/test_daemon.py::test_running_out_of_files_costs_newcomers_and_not_those_who_work",),
        quick="200 connections", long="200 connections", seconds=25,
    ),
    Fault(
        number=23,
        fault="more comes than goes",
        how=(
            "Analyzers send as fast as they are answered, more than ten times what the destination takes; "
            "then it is quick again. The same until the disk is at its mark, again and again. And a journal whose "
            "queue is full."
        ),
        passes=(
            "memory below 128 MiB, the log below 64 MiB; at the mark no sender is answered, deliveries go on, and once "
            "there is room all are answered again by itself; all of it arrives in order"
        ),
        nodes=(
            "tests/faults/test_load.py::test_what_the_destination_does_not_take_waits_on_disk_and_not_in_memory",
            "tests/faults/test_load.py::test_at_the_mark_nothing_is_answered_and_then_all_goes_on",
            "tests/engine/store/core/writing/test_writer.py::test_a_full_queue_refuses_new_work_at_once_and_still_takes_verdicts",
        ),
        quick="4 s",
        long="50 s",
        soak="1 hour",
        seconds=110,
        unproven="The mark is the disk's room without the reserve, and no number of a setting: an analyzer that "
        "is not answered keeps few results and writes over the oldest, so refusing one while there is room would lose "
        "what could be kept.",
    ),
    Fault(
        number=24,
        fault="little memory",
        how=(
            "Four analyzers over MLLP, ASTM and a serial line, everything mapped and delivered as fast as it "
            "goes; the daemon in a control group of the kernel's with 128 MiB and no swap."
        ),
        passes=(
            "nothing is killed for want of memory, no growth of anonymous memory between the halves of a run beyond "
            "SQLite's caches, lost=0"
        ),
        nodes=(
            "tests/faults/test_load.py::test_weeks_of_traffic_fit_into_little_memory",
            "tests/faults/test_load.py::test_a_group_ends_what_does_not_fit_into_it",
        ),
        quick="5 s",
        long="75 s",
        soak="6 hours",
        seconds=90,
        unproven=(
            "Pages of libraries that were in memory before the daemon started belong to no group, and are not counted. "
            "Needs root; elsewhere it is skipped."
        ),
    ),
    Fault(
        number=25,
        fault="reload and upgrade under load",
        how=(
            "Reloads that change channels, mapping and destination at once, while analyzers send and the "
            "server is in a bad mood; the journal of a killed program with open work, and more schema steps; a "
            "journal of a later schema."
        ),
        passes="lost=0, no message under two configurations, downgrade refused",
        nodes=(
            "tests/faults/test_races.py::test_no_message_is_lost_or_made_under_two_configurations_by_a_reload",
            "tests/engine/runtime/test_app.py::test_fifty_reloads_under_load_lose_nothing",
            "tests/faults/test_upgrade.py",
            "tests/engine/store/core/test_migrations.py",
        ),
        quick="12 reloads",
        long="1,000 reloads, or as many as fit into the time",
        soak="1,000 reloads",
        seconds=80,
    ),
    Fault(
        number=26,
        fault="two daemons, one journal",
        how="Two daemons are started on one site at the same moment, under load.",
        passes="one refuses with exit code 4, the other works; lost=0",
        nodes=(
            "tests/faults/test_machine.py::test_of_two_daemons_that_start_at_once_one_stays",
            "tests/engine/runtime/test_app.py::test_a_second_daemon_on_the_same_data_is_refused",
        ),
        quick="1 pair", long="25 pairs", seconds=25,
    ),
    Fault(
        number=27,
        fault="replay races",
        how=(
            "Two replays of a channel and a retry of its dead letters at once, of the same deliveries, in "
            "processes of their own; another channel sends meanwhile, and a tenth of the answers are lost. And a "
            "replay beside live messages that never end."
        ),
        passes=(
            "order kept, every delivery under its one key, lost=0; a replay comes to its end however much is live; "
            "live answers are measured"
        ),
        nodes=(
            "tests/faults/test_races.py::test_replay_and_retry_of_the_same_deliveries_leave_live_traffic_alone",
            "tests/engine/delivery/test_delivery.py::test_whatever_people_and_peers_do_at_once_order_and_every_message_are_kept",
            "tests/engine/features/rework/acts/test_replay.py::test_what_is_live_without_end_does_not_keep_it_for_ever_a_server_that_is_away_does",
        ),
        quick="60 messages",
        long="600 messages, or as many as fit into the time",
        seconds=40,
    ),
    Fault(
        number=28, fault="backup and restore",
        how="Full copies and pieces of new rows while three senders write, then a restoration; kill -9 before each "
        "step of a backup.",
        passes="what was acknowledged before the last piece is there, byte for byte; deep verify finds nothing; RPO "
        "and time are printed; the last good copy stays",
        nodes=("tests/faults/test_backup.py",), quick="2 copies, 17 steps", long="12 copies, 17 steps",
        soak="100 copies", seconds=35,
    ),
    Fault(
        number=29,
        fault="time to evidence",
        how=(
            "`verify` over a journal whose messages are mapped and delivered, whole and with 20 rows changed "
            "or taken out."
        ),
        passes="a million messages below 60 s; the list of faults is exact",
        nodes=(
            "tests/faults/test_time_to_evidence.py",
            "tests/engine/store/integrity/test_verify.py",
        ),
        quick="4,000 messages",
        long="1,000,000 messages, or as many as can be written in the time",
        soak="1,000,000 messages",
        seconds=130,
    ),
    Fault(
        number=30,
        fault="the loop hangs",
        how="The event loop hangs amid a message; a service manager of the test's own listens to the "
        "watchdog's datagrams, kills what is silent, and starts it again.",
        passes="the watchdog is not fed; lost=0",
        nodes=(
            "tests/faults/test_machine.py::test_a_loop_that_hangs_is_ended_by_the_watchdog_and_nothing_is_lost",
            "tests/engine/runtime/test_watchdog.py",
        ),
        quick="WatchdogSec=2", long="WatchdogSec=30, as in the unit, twice", seconds=80,
    ),
    Fault(
        number=31,
        fault="pinned reader",
        how="Another reader keeps its snapshot while messages are stored; LabRelay's own readers have a deadline.",
        passes="an alarm at 64 MiB of log, no stall, the log is emptied once the reader ends",
        nodes=("tests/faults/test_store_pinned_reader.py",),
        quick="12 MiB", long="64 MiB, then 2,000 messages", seconds=25,
        unproven="A reader that stays for days: the log grows for as long, and the alarm stays.",
    ),
    Fault(
        number=32,
        fault="stale retry",
        how=(
            "A result is refused, its correction is delivered, and the old one is retried and replayed: over "
            "HL7 and ASTM, to a FHIR server."
        ),
        passes="superseded; the server keeps the correction",
        nodes=(
            "tests/results/test_identity.py::test_an_older_result_never_overwrites_a_correction",
            "tests/engine/delivery/test_delivery.py::test_an_old_result_is_not_sent_over_its_correction",
        ),
        quick="each once",
        long="each once",
        seconds=20,
    ),
    Fault(
        number=33,
        fault="noise",
        how=(
            "One byte in a hundred lost, changed or invented, over MLLP, ASTM and a serial line, with "
            "senders that send again; and bytes of all kinds on every port."
        ),
        passes=(
            "no crash; for every answer that something is kept there is a message; what is not as it was "
            "sent is counted"
        ),
        nodes=(
            "tests/faults/test_noise.py",
            "tests/faults/test_daemon.py::test_noise_on_every_port_costs_nobody_else_anything",
        ),
        quick="36 messages",
        long="450 messages",
        soak="30,000 messages",
        seconds=60,
        unproven=(
            "A message that was changed on a line without a sum, or whose sum fits by chance, is kept as it "
            "came: how many there were, and how many showed nothing, is in the figures."
        ),
    ),
    Fault(
        number=34,
        fault="kill amid a question or a download",
        how=(
            "The process kills itself before and after each named step of a question over ASTM and of a download, and "
            "of each byte that goes out; an analyzer on a real socket asks again, or waits."
        ),
        passes="no order lost, none sent twice without its mark, none under another number",
        nodes=("tests/faults/test_order_kill.py",),
        quick="6 kills",
        long="44 kills",
        seconds=150,
        unproven="Over MLLP an answer has other steps: see T35.",
    ),
    Fault(
        number=35,
        fault="kill amid an exchange of IHE LAW",
        how=(
            "The process kills itself before and after each named step of a question over MLLP, of its orders, of the "
            "analyzer's answer and of the result; the analyzer asks again, and never confirms twice."
        ),
        passes="each order has its result, none is on another tube, none that the analyzer has is taken for new",
        nodes=("tests/faults/test_law_kill.py",),
        quick="7 steps", long="30 steps", seconds=150,
        unproven="The analyzer is a test's own; orders on LabRelay's own connection are not killed here.",
    ),
    Fault(
        number=36,
        fault="kill amid an order's way",
        how=(
            "The process kills itself before and after each named step of orders from a laboratory system, which sends "
            "each message again until it is answered: new orders, changes, holds, releases, cancels, drawn at random."
        ),
        passes="the worklist is as a model says; each message has one answer in meaning, however often it is sent",
        nodes=("tests/faults/test_orders_kill.py",),
        quick="2 seeds", long="2 seeds", seconds=50,
    ),
    Fault(
        number=37,
        fault="interleaved orders and questions",
        how=(
            "Orders, cancels, questions and results at once, on lines that lose and change bytes, with kills between "
            "two steps; commits, bytes and seconds are steps of one thread."
        ),
        passes="the rules of interleavings (docs/reliability.md)",
        nodes=("tests/interleavings/test_sample.py",),
        quick="150 interleavings", long="200 interleavings", soak="10,000 interleavings", seconds=240,
    ),
    Fault(
        number=38,
        fault="both sides send on a damaged line",
        how=(
            "An analyzer and LabRelay each send over E1381 when they want to, take messages back, and lose or change "
            "bytes in both directions. ACKs are lost or spoiled, EOT comes for an ACK, frames have wrong numbers, "
            "noise comes between sessions, a frame is refused six times, the line breaks amid a message: a walk must "
            "have met each. LABRELAY_EXAMPLES=3000 makes as many walks."
        ),
        passes="both come to rest; only whole messages arrive, each once; a message that may have arrived is reported",
        nodes=(
            "tests/adapters/codecs/astm/test_two_way_both_sides.py",
            "tests/adapters/codecs/astm/test_two_way.py",
            "tests/engine/features/orders/exchange/test_random_line.py",
            "tests/engine/features/orders/exchange/test_random_law.py",
        ),
        quick="hundreds of random histories", long="hundreds of random histories", seconds=45,
        unproven="An answer that turns into ACK or EOT, an ENQ, ACK or EOT out of nowhere, a frame that the line "
        "doubles, a repeat that gets the next frame's number with a right sum: no protocol with answers of one byte "
        "survives these.",
    ),
    Fault(
        number=39,
        fault="laboratory system away for an hour",
        how=(
            "A laboratory system has ordered, and is away for an hour of the test's clock, and the server of "
            "the results with it; analyzers ask, measure and send, LabRelay restarts in between."
        ),
        passes=(
            "each question is answered at once with the tests of its tube; then each result is at the server, each end "
            "is reported to the laboratory system, in order, lost=0, twice=0, wrong=0"
        ),
        nodes=("tests/faults/test_lis_away.py",),
        quick="10 tubes", long="60 tubes", seconds=60,
        unproven="It is silent as a whole; one that takes part of a message, or answers late, is T10, T13 and T20.",
    ),
    Fault(
        number=40,
        fault="kill amid a search for orders",
        how=(
            "The process kills itself before and after each named step of a search: a version received and stored, the "
            "cursor moved, the commit, the hand-over, the mapping. A laboratory system orders, changes, holds and "
            "cancels at its own FHIR server meanwhile, drawn at random."
        ),
        passes="each version of each request is one message, in the order of the server; the worklist is as the newest "
        "versions say; the journal is whole",
        nodes=("tests/faults/test_polled_kill.py",),
        quick="2 seeds", long="2 seeds", seconds=60,
        unproven="The server is a test's own.",
    ),
    Fault(
        number=41,
        fault="flood on three channels",
        how="Three analyzers send messages of 1 MB with 20,000 results each as fast as they are answered; a fourth "
        "sends one message a second.",
        passes="the first attempt to deliver each message of the fourth begins at most 10 s (p99) after its "
        "acknowledgement; at the quick scale, before most of the flood is delivered",
        nodes=("tests/faults/test_flood.py",),
        quick="18 messages of 1,100 results", long="25 seconds", soak="10 minutes", seconds=90,
        unproven="The fourth shares no order, specimen or patient with the flood: a message that does waits for it.",
    ),
    Fault(
        number=42,
        fault="a spare takes over",
        how="kill -9 of a machine under load, at random between two pieces; a spare that followed its copies takes "
        "over; the old machine comes back before, during or after that, or never, or was frozen; its person resumes.",
        passes="nothing acknowledged is lost once the old folder is adopted; the old machine delivers and copies "
        "nothing once the spare has taken over; 30 s at most without the person",
        nodes=("tests/faults/test_spare.py",),
        quick="2 take-overs", long="2 take-overs", soak="50 take-overs", seconds=60,
        unproven="Both machines are one, with one clock; the folder of copies always answers.",
    ),
)  # fmt: skip


def exists(node: str) -> bool:
    """Whether a test file has such a test."""
    path, _, name = node.partition("::")
    file = ROOT / path
    return file.is_file() and (not name or f"def {name}(" in file.read_text(encoding="utf-8"))
