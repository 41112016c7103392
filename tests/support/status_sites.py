"""Made-up sites for tests of page, metrics and status: one in order, one with every trouble, a large one."""

from datetime import UTC, datetime, timedelta

from engine.model.texts.link_words import fault_words
from engine.model.texts.phrases import Phrase
from engine.model.texts.reasons import ReasonCode
from engine.monitoring.snapshot.channels import (
    ChannelSnapshot,
    DestinationSnapshot,
    LaneSnapshot,
    LastError,
    LineStep,
    LinkFaults,
    LinkSnapshot,
    LinkState,
    PendingRetry,
    ReagentSnapshot,
    TeeSnapshot,
    UsualGap,
)
from engine.monitoring.snapshot.site import About, BackupSnapshot, JournalSnapshot, KeptSnapshot, Notice, SiteSnapshot
from engine.monitoring.snapshot.states import ChannelState, DestinationState

NOW = datetime(2026, 3, 2, 4, 42, 7, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def quiet_site() -> SiteSnapshot:
    """Two analyzers and one destination, all in order."""
    channels = (
        ChannelSnapshot(
            name="chemistry",
            description="Chemistry line in the main lab",
            kind="mllp",
            address="127.0.0.1:2575",
            state=ChannelState.RECEIVING,
            connections=("127.0.0.1:50213",),
            last_message_at=ago(12),
            last_message_age_s=12,
            usual=UsualGap(gap_s=120, source="configured"),
            today_received=418,
            today_delivered=418,
            lanes=(LaneSnapshot(destination="lab-fhir", delivered_today=418),),
        ),
        ChannelSnapshot(name="urinalysis", kind="astm", address="127.0.0.1:2576"),
    )
    destination = DestinationSnapshot(
        name="lab-fhir",
        kind="fhir",
        address="http://127.0.0.1:8581/fhir",
        state=DestinationState.OK,
        delivered_today=418,
        last_delivered_at=ago(11.8),
        rate_per_min=5,
    )
    return SiteSnapshot(
        site_name="City Lab",
        version="0.1.0",
        started_at=ago(90_000),
        now=NOW,
        timezone="Asia/Kolkata",
        config_hash="3f9ac1d2",
        channels=channels,
        destinations=(destination,),
        disk_free_bytes=48 << 30,
        journal=JournalSnapshot(
            last_id=20418, size_bytes=90 << 20, wal_bytes=4 << 20, fsync_ms_p50=1.9, fsync_ms_p99=7.2
        ),
        kept=KeptSnapshot(since=ago(86_400 * 400), next_at=ago(-86_400 * 1400), largest_bytes=500 << 20),
        backup=BackupSnapshot(folder="/mnt/backup", verified_at=ago(7200), rows_at=ago(120), drill_at=ago(86_400 * 3)),
    )


def troubled_site() -> SiteSnapshot:
    """Every state that asks for a person, at once."""
    channels = (
        ChannelSnapshot(
            name="haematology-1",
            description="Haematology, second floor",
            kind="astm",
            address="0.0.0.0:2600",
            state=ChannelState.SILENT,
            last_message_at=ago(47 * 60 + 5),
            last_message_age_s=47 * 60 + 5,
            usual=UsualGap(gap_s=120, source="configured"),
            today_received=212,
            today_delivered=211,
            today_dead=1,
            link_faults={"bad-checksum": 3, "receive-timeout": 1},
            link=LinkSnapshot(
                state=LinkState.UNCONNECTED,
                stray_bytes=17,
                faults=(LinkFaults(kind="bad-checksum", n=3), LinkFaults(kind="receive-timeout", n=1)),
                last_fault="receive-timeout",
                last_fault_at=ago(47 * 60),
                steps=(
                    LineStep(at=ago(2830), way="in", words=Phrase("{text}", {"text": "ENQ"})),
                    LineStep(at=ago(2829.9), way="out", words=Phrase("{text}", {"text": "ACK"})),
                    LineStep(
                        at=ago(2829),
                        way="in",
                        words=Phrase("frame {n}, {size} bytes", {"n": 1, "size": 57}),
                        verdict=Phrase("checksum wrong"),
                        good=False,
                    ),
                    LineStep(at=ago(2828.9), way="out", words=Phrase("{text}", {"text": "NAK"})),
                    LineStep(
                        at=ago(2828.9),
                        way="about",
                        words=Phrase(
                            "{what} ({detail})",
                            {"what": Phrase(fault_words("bad-checksum")), "detail": "checksum A1, computed 53"},
                        ),
                    ),
                    LineStep(
                        at=ago(2828),
                        way="in",
                        words=Phrase("frame {n}, {size} bytes", {"n": 1, "size": 57}),
                        verdict=Phrase("checksum right"),
                        good=True,
                    ),
                    LineStep(at=ago(2827.9), way="out", words=Phrase("{text}", {"text": "ACK"})),
                ),
            ),
            lanes=(
                LaneSnapshot(destination="archive", delivered_today=212),
                LaneSnapshot(destination="lab-fhir", delivered_today=211, dead=1),
            ),
        ),
        ChannelSnapshot(
            name="chemistry",
            description="Chemistry line in the main lab",
            kind="mllp",
            address="127.0.0.1:2575",
            state=ChannelState.RECEIVING,
            connections=("10.20.4.17:50213", "10.20.4.18:50871"),
            link=LinkSnapshot(state=LinkState.CONNECTED),
            last_message_at=ago(12),
            last_message_age_s=12,
            usual=UsualGap(gap_s=90, source="configured"),
            today_received=418,
            today_delivered=376,
            today_filtered=4,
            today_repeat=2,
            stored_waiting=3,
            lanes=(
                LaneSnapshot(
                    destination="lab-fhir",
                    waiting=38,
                    oldest_age_s=1204,
                    retrying=PendingRetry(attempt=7, code=ReasonCode.NO_ANSWER, channel="chemistry", message=458),
                    delivered_today=338,
                ),
                LaneSnapshot(destination="archive", delivered_today=376),
            ),
        ),
        ChannelSnapshot(
            name="coagulation",
            kind="astm-serial",
            address="/dev/ttyUSB0 9600 8N1",
            state=ChannelState.FAULTED,
            fault="device not found",
            last_message_at=ago(5400),
            last_message_age_s=5400,
            usual=UsualGap(gap_s=1800, source="configured"),
            today_received=31,
            today_delivered=31,
            today_incomplete=1,
            incomplete=2,
            link=LinkSnapshot(state=LinkState.DOWN),
            reagents=(
                ReagentSnapshot(
                    name="STA-NEO CI PLUS 5",
                    lot="254169",
                    expires="2026-02-28",
                    tests=("SPT", "SINR"),
                    last_at=ago(5400),
                ),
                ReagentSnapshot(name="CACL2 0.025 M", lot="254005", expires="2027-08", left="12 mL", last_at=ago(9000)),
            ),
            lanes=(LaneSnapshot(destination="lab-fhir", delivered_today=31),),
        ),
        ChannelSnapshot(
            name="immunoassay",
            kind="mllp",
            address="connects to 10.20.4.30:6000",
            state=ChannelState.WAITING,
            last_message_at=ago(3 * 86400 + 7200),
            last_message_age_s=3 * 86400 + 7200,
            lanes=(LaneSnapshot(destination="lab-fhir", waiting=2, oldest_age_s=60, held=2),),
        ),
        ChannelSnapshot(
            name="urinalysis",
            kind="astm",
            address="127.0.0.1:2576",
            state=ChannelState.DISABLED,
            link=LinkSnapshot(state=LinkState.OFF),
        ),
        ChannelSnapshot(
            name="point-of-care",
            description="Glucose meters",
            kind="mllp",
            address="127.0.0.1:2577",
            state=ChannelState.QUIET,
            last_message_at=ago(1500),
            last_message_age_s=1500,
            usual=UsualGap(gap_s=1200, source="configured"),
            today_received=64,
            today_delivered=62,
            today_dead=2,
            dead=2,
            connections=("10.20.4.40:41000",),
            link=LinkSnapshot(
                state=LinkState.CONNECTED,
                steps=(
                    LineStep(
                        at=ago(1500),
                        way="analyzer",
                        words=Phrase("message, {size} bytes", {"size": 612}),
                        verdict=Phrase("accepted"),
                        good=True,
                    ),
                ),
            ),
            tee=TeeSnapshot(
                seen=64, acknowledged=63, refused=1, middleware_seen=3, middleware_acknowledged=3, not_kept=2
            ),
            lanes=(LaneSnapshot(destination="lab-fhir", delivered_today=62),),
        ),
    )
    destinations = (
        DestinationSnapshot(
            name="lab-fhir",
            kind="fhir",
            address="https://fhir.lab.example/r4",
            state=DestinationState.BREAKER_OPEN,
            breaker_until=NOW + timedelta(seconds=28),
            waiting=40,
            oldest_age_s=1204,
            dead=1,
            held=2,
            delivered_today=642,
            last_delivered_at=ago(1230),
            last_error=LastError(code=ReasonCode.NO_ANSWER, at=ago(31)),
            retrying=PendingRetry(attempt=7, code=ReasonCode.NO_ANSWER, channel="chemistry", message=458),
        ),
        DestinationSnapshot(
            name="archive",
            kind="file",
            address="var/archive",
            state=DestinationState.OK,
            delivered_today=652,
            last_delivered_at=ago(12),
            rate_per_min=4,
        ),
    )
    return SiteSnapshot(
        site_name="City Lab",
        version="0.1.0",
        started_at=ago(7200),
        now=NOW,
        timezone="Asia/Kolkata",
        config_hash="3f9ac1d2",
        channels=channels,
        destinations=destinations,
        dead_total=3,
        incomplete_total=2,
        unmapped_total=5,
        disk_free_bytes=9 << 30,
        disk_days_left=21,
        journal=JournalSnapshot(
            last_id=20418, size_bytes=90 << 20, wal_bytes=4 << 20, fsync_ms_p50=1.9, fsync_ms_p99=7.2
        ),
        backup=BackupSnapshot(folder="/mnt/backup", fault="the folder is not there"),
        task_restarts={"channel coagulation": 14},
        of_features={"abdm": None, "facilities": {}, "unsent_after_s": {}},
        notes=(Notice("The clock is 4 s off", About.CLOCK),),
    )


def large_site(channels: int = 500) -> SiteSnapshot:
    """Many channels, each with two lanes; every tenth in trouble."""
    many = tuple(
        ChannelSnapshot(
            name=f"analyzer-{index:03}",
            description=f"Analyzer {index} of a large network",
            kind="mllp",
            address=f"127.0.0.1:{10_000 + index}",
            state=ChannelState.SILENT if index % 10 == 0 else ChannelState.RECEIVING,
            connections=(f"10.0.{index // 250}.{index % 250}:4000",),
            last_message_at=ago(index),
            last_message_age_s=index,
            usual=UsualGap(gap_s=60, source="configured"),
            today_received=index * 10,
            today_delivered=index * 9,
            lanes=(
                LaneSnapshot(destination="lab-fhir", waiting=index % 7, oldest_age_s=index, delivered_today=index),
                LaneSnapshot(destination="archive", waiting=index % 3, oldest_age_s=index, delivered_today=index),
            ),
        )
        for index in range(channels)
    )
    destinations = (
        DestinationSnapshot(
            name="lab-fhir", kind="fhir", address="http://127.0.0.1:8581/fhir", state=DestinationState.OK
        ),
        DestinationSnapshot(name="archive", kind="file", address="var/archive", state=DestinationState.OK),
    )
    return SiteSnapshot(
        site_name="Network",
        version="0.1.0",
        started_at=ago(7200),
        now=NOW,
        channels=many,
        destinations=destinations,
    )
