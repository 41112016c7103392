"""Real brokers of Kafka, as Maven has them: each is broker and controller in one process of Java with a small heap.

``make e2e`` names their class path in ``LABRELAY_KAFKA``; without Java or Maven there is none, and the tests skip. A
broker ends with its test, and by itself after `LIFE_S`, whatever becomes of the test.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic

from tests.support.ports import quiet_ports
from tests.support.waiting import until

LIFE_S = 900
USERS = {"gateway": "s3cret-g", "feeder": "s3cret-f"}
GUARDED = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},GUARDED://127.0.0.1:{guarded}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},GUARDED://127.0.0.1:{guarded}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
HEAP = ("-Xms48m", "-Xmx192m", "-Xss512k", "-XX:MaxMetaspaceSize=96m", "-XX:ReservedCodeCacheSize=48m")
LEAN = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
STARTS_WITHIN_S = 120.0
SETTINGS = """\
process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters={voters}
log.dirs={folder}/data
auto.create.topics.enable=false
unclean.leader.election.enable=false
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.enable=false
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
offsets.topic.num.partitions=1
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr=1
min.insync.replicas={in_sync}
broker.session.timeout.ms=6000
"""


class Engine:
    """One broker, or three that keep copies of each other's records.

    Attributes:
        connect: the addresses of the brokers.
        guarded: of the first, where a user logs in and has the rights that `allow` gives.
    """

    def __init__(
        self, folder: Path, brokers: int, classpath: str, *, with_users: bool = False, life_s: float = LIFE_S
    ) -> None:
        self._life_s = life_s
        self._java = [shutil.which("java") or "java", *HEAP, *LEAN, "-cp", classpath]
        self._folders = [folder / f"n{one}" for one in range(1, brokers + 1)]
        self._lives: list[subprocess.Popen[bytes] | None] = [None] * brokers
        *ports, guarded = quiet_ports(2 * brokers + 1)
        self.guarded = f"127.0.0.1:{guarded}"
        self.connect = [f"127.0.0.1:{port}" for port in ports[:brokers]]
        voters = ",".join(f"{one}@127.0.0.1:{port}" for one, port in enumerate(ports[brokers:], start=1))
        for node, one in enumerate(self._folders, start=1):
            one.mkdir(parents=True)
            text = SETTINGS.format(
                node=node, port=ports[node - 1], controller=ports[brokers + node - 1], voters=voters, folder=one,
                copies=brokers, in_sync=min(brokers, 2),
            )  # fmt: skip
            if node == 1 and with_users:
                users = " ".join(f'user_{name}="{password}"' for name, password in USERS.items())
                text += GUARDED.format(
                    port=ports[node - 1], controller=ports[brokers + node - 1], guarded=guarded, users=users
                )
            (one / "server.properties").write_text(text)
            tool = [*self._java, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"]
            subprocess.run([*tool, str(one / "server.properties")], check=True, capture_output=True, timeout=120)

    def start(self, node: int = 1) -> None:
        folder = self._folders[node - 1]
        with (folder / "log").open("ab") as log:
            self._lives[node - 1] = subprocess.Popen(
                ["timeout", "-s", "KILL", str(self._life_s), *self._java, "kafka.Kafka", folder / "server.properties"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self, node: int = 1) -> None:
        life, self._lives[node - 1] = self._lives[node - 1], None
        if life is not None:
            with suppress(ProcessLookupError):
                os.killpg(life.pid, signal.SIGKILL)
            life.wait(timeout=20)

    def freeze(self, node: int, *, on: bool = True) -> None:
        life = self._lives[node - 1]
        assert life is not None
        os.killpg(life.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def client(self, **more: Any) -> dict[str, Any]:
        return {"bootstrap.servers": ",".join(self.connect), "log_level": 0, **more}

    async def ready(self) -> None:
        """Wait until all brokers know each other."""

        def known() -> bool:
            with suppress(confluent_kafka.KafkaException):
                return len(AdminClient(self.client()).list_topics(timeout=2).brokers) == len(self.connect)
            return False

        await until(known, STARTS_WITHIN_S)

    def make(self, topic: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> None:
        new = NewTopic(topic, partitions, min(3, len(self.connect)), config=dict(settings or {}))
        admin = AdminClient(self.client())  # a name holds it until the result is there
        admin.create_topics([new])[topic].result(60)

    def allow(self, user: str, operation: AclOperation, name: str, kind: ResourceType = ResourceType.TOPIC) -> None:
        rule = AclBinding(
            kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW
        )
        admin = AdminClient(self.client())
        [done] = admin.create_acls([rule]).values()
        done.result(60)

    def remove(self, topic: str) -> None:
        admin = AdminClient(self.client())
        admin.delete_topics([topic])[topic].result(60)

    def topics(self) -> set[str]:
        return set(AdminClient(self.client()).list_topics(timeout=10).topics)

    def id_of(self, topic: str) -> str:
        admin = AdminClient(self.client())
        return str(admin.describe_topics(confluent_kafka.TopicCollection([topic]))[topic].result(60).topic_id)

    def delete_until(self, topic: str, partition: int, offset: int) -> None:
        """As retention does."""
        admin = AdminClient(self.client())
        [done] = admin.delete_records([confluent_kafka.TopicPartition(topic, partition, offset)]).values()
        done.result(60)

    @staticmethod
    def _led(reader: confluent_kafka.Consumer, topic: str) -> list[int]:
        """The topic's partitions, once each has a leader: a broker that has just started knows none."""
        until_s = time.monotonic() + STARTS_WITHIN_S
        while True:
            with suppress(confluent_kafka.KafkaException):
                found = reader.list_topics(topic, 10).topics[topic]
                parts = found.partitions.values()
                if found.error is None and parts and all(one.error is None and one.leader >= 0 for one in parts):
                    return [one.id for one in parts]
            assert time.monotonic() < until_s, "a partition of the topic has no leader"
            time.sleep(0.1)

    def records(self, topic: str) -> list[confluent_kafka.Message]:
        """All that the topic has, in order within each partition."""
        reader = confluent_kafka.Consumer(self.client(**{"group.id": "witness", "enable.auto.commit": False}))
        try:
            parts = [confluent_kafka.TopicPartition(topic, one) for one in self._led(reader, topic)]
            ends = [reader.get_watermark_offsets(one, timeout=10) for one in parts]
            for one, (low, _) in zip(parts, ends, strict=True):
                one.offset = low
            reader.assign(parts)
            found: list[confluent_kafka.Message] = []
            until_s = time.monotonic() + 120.0
            while len(found) < sum(high - low for low, high in ends):
                assert time.monotonic() < until_s, "the topic's records cannot be read"
                found += [one for one in reader.consume(500, 1.0) if one.error() is None]
            return found
        finally:
            reader.close()


@contextmanager
def kafka_engine(
    folder: Path, brokers: int = 1, *, with_users: bool = False, life_s: float = LIFE_S
) -> Iterator[Engine]:
    classpath = Path(os.environ.get("LABRELAY_KAFKA", "absent"))
    if not classpath.is_file() or shutil.which("java") is None:
        pytest.skip("there is no Kafka; on Debian or Ubuntu: apt install openjdk-17-jdk-headless maven, then make e2e")
    engine = Engine(folder / "kafka", brokers, classpath.read_text().strip(), with_users=with_users, life_s=life_s)
    try:
        for node in range(1, brokers + 1):
            engine.start(node)
        yield engine
    finally:
        for node in range(1, brokers + 1):
            engine.kill(node)
