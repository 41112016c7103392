"""The ``destinations:`` of a site: where documents go.

One model for each ``kind``, and `DestinationConfig` lists those of the core: a new kind is a model here, or in a
feature, its adapter, its section of docs/destinations.md and its counterpart in the tests.
"""

from collections.abc import Iterator, Mapping
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from engine.config.destinations.destination_auth import USE_HTTPS, USE_MQTT_TLS, HttpServer, PasswordAuth, host_in_clear
from engine.config.destinations.destination_base import DestinationBase
from engine.config.kafka_servers import KafkaServers
from engine.config.reading import values
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.tls import ConnectTls
from engine.feature import Hook

DAY = 86_400.0


class FhirDestination(HttpServer, DestinationBase):
    """A FHIR R4 server that takes transaction Bundles."""

    adapter = "adapters.destinations.fhir_rest"
    takes = "fhir"
    example = """\
lab-fhir:
  kind: fhir
  url: https://fhir.example.org/fhir
  auth: {basic: {user: labrelay, password: "${FHIR_PASSWORD}"}}
  tls: {ca: config/hospital-ca.pem, cert: config/labrelay.pem, key: config/labrelay.key}
  timeout: 30s
"""

    kind: Literal["fhir"]
    """`fhir`: POST of transaction Bundles to a FHIR R4 server."""

    url: values.HttpUrl
    """Base address of the server, as `https://fhir.example.org/fhir`."""

    concurrency: values.Whole = Field(default=32, ge=1, le=256)
    """Requests under way at once, over all lanes; one lane never has more than one."""

    ids: Literal["client", "server"] = "client"
    """`client`: our own resources are PUT under ids that we make. `server`: for servers that refuse such ids, they
    are updated by their identifier, and the server gives ids."""

    conflicts: Literal["off", "check"] = "off"
    """`off`: what we write takes the place of what the server has. `check`: only of what we wrote there last; where
    the server has another version, the delivery is dead (`CONFLICT`) with both, for a person to choose. Needs a
    server that keeps versions and looks at `ifMatch`."""


class HttpDestination(HttpServer, DestinationBase):
    """Any web service that takes one document per request."""

    adapter = "adapters.destinations.http_out"
    example = """\
archive:
  kind: http
  url: https://archive.example.org/results
  method: PUT
  auth: {bearer: {token: "${ARCHIVE_TOKEN}"}}
"""

    kind: Literal["http"]
    """`http`: one request per document."""

    method: Literal["POST", "PUT"] = "POST"
    """Request method."""

    taken: values.Text | None = None
    """A text that the answer has where the document was taken, as `'"Status":1,'`, for a service that answers 200 also
    to what it refuses. Without it in the answer the delivery is a dead letter, which has the answer's own words."""

    concurrency: values.Whole = Field(default=8, ge=1, le=256)
    """Requests under way at once, over all lanes."""

    @model_validator(mode="after")
    def _tokens(self) -> Self:
        oauth2 = self.auth.oauth2 if self.auth is not None else None
        if oauth2 is not None and oauth2.token_url is None:
            raise ValueError("auth.oauth2 needs token_url: only a FHIR server says by itself who gives its tokens")
        return self


class MllpDestination(DestinationBase):
    """A receiver of HL7 v2 messages in MLLP blocks."""

    adapter = "adapters.destinations.mllp_out"
    takes = "hl7v2"
    example = """\
old-lis:
  kind: mllp
  connect: 192.0.2.10:6661
  timeout: 20s
"""

    kind: Literal["mllp"]
    """`mllp`: HL7 v2 messages to a receiver, acknowledged one by one."""

    connect: values.Address
    """Address of the receiver, as host:port."""

    tls: ConnectTls | None = None
    """TLS with the receiver; an empty `{}` trusts the system's."""

    ack: Literal["commit", "application", "both"] = "commit"
    """The answer that makes a message delivered: `commit`, the first that accepts it (CA, or AA); `application`, AA,
    and a CA before it is passed over; `both`, CA and then AA. A refusal that comes later makes the delivery a dead
    letter."""

    @property
    def place(self) -> str:
        return str(self.connect)


class MqttDestination(DestinationBase):
    """A broker that gets one message per document."""

    adapter = "adapters.destinations.mqtt_out"
    concurrency: ClassVar[int] = 8
    example = """\
feed:
  kind: mqtt
  connect: broker.example.org:8883
  client_id: labrelay-main
  topic: lab/{channel}/{message_type}
  auth: {basic: {user: labrelay, password: "${MQTT_PASSWORD}"}}
  tls: {ca: config/hospital-ca.pem, cert: config/labrelay.pem, key: config/labrelay.key}
"""

    kind: Literal["mqtt"]
    """`mqtt`: one message per document to an MQTT broker, acknowledged."""

    connect: values.Address
    """Address of the broker, as host:port (1883; with TLS 8883)."""

    client_id: values.Name
    """Our name at the broker. No other client may have it: the broker ends the older of two connections."""

    topic: values.Topic
    """Where to publish, as `lab/{channel}/{message_type}`; also `{destination}`. Nothing else is allowed in braces:
    a topic is shown and logged everywhere."""

    version: Literal["5", "3.1.1"] = "5"
    """Version of MQTT. In 3.1.1 a broker cannot say that it refuses a message."""

    auth: PasswordAuth | None = None
    """How to log in: `{basic: {user, password}}`."""

    tls: ConnectTls | None = None
    """TLS with the broker; an empty `{}` trusts the system's."""

    no_subscriber: Literal["wait", "deliver"] = "wait"
    """A document that the broker accepted without a subscriber: try again later (`wait`), or count it as delivered.
    Only MQTT 5 brokers report this."""

    @property
    def place(self) -> str:
        return str(self.connect)

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        if self.auth is not None and self.tls is None:
            yield from self.auth.in_clear(self.connect, USE_MQTT_TLS)


class KafkaDestination(KafkaServers, DestinationBase):
    """A topic of Kafka that gets one record per document."""

    adapter = "adapters.destinations.kafka_out"
    example = """\
log:
  kind: kafka
  connect: [k1.example.org:9093, k2.example.org:9093]
  topic: lab.results
  gateway: city-lab
  tls: {ca: config/hospital-ca.pem, cert: config/labrelay.pem, key: config/labrelay.key}
"""

    kind: Literal["kafka"]
    """`kafka`: one record per document in a topic of Kafka, acknowledged by all in-sync replicas. Needs the extra
    `labrelay[kafka]`."""

    gateway: values.Name
    """Our name in the key of each record, `gateway/channel`. No other gateway of the chain may have it."""

    keeps: values.Duration = Field(default=7 * DAY, gt=0)
    """How long the topic keeps a record (`retention.ms`): `check --online` compares it, and `erase` says the day."""

    concurrency: values.Whole = Field(default=64, ge=1, le=1024)
    """Records under way at once, over all lanes; one lane never has more than one."""

    @property
    def place(self) -> str:
        return self.at

    @property
    def keeps_s(self) -> float:
        return self.keeps


class S3Destination(DestinationBase):
    """Object storage that speaks the S3 protocol."""

    adapter = "adapters.destinations.s3_out"
    concurrency: ClassVar[int] = 8
    example = """\
archive:
  kind: s3
  endpoint: https://s3.ap-south-1.amazonaws.com
  region: ap-south-1
  bucket: lab-archive
  prefix: results/
  access_key: ${S3_ACCESS_KEY}
  secret_key: ${S3_SECRET_KEY}
  attachments: true
"""

    kind: Literal["s3"]
    """`s3`: one object per document in S3-compatible object storage."""

    endpoint: values.Endpoint
    """Address of the storage, as `https://s3.ap-south-1.amazonaws.com`."""

    bucket: values.Bucket
    """Name of the bucket; it must be there."""

    region: values.Name = "us-east-1"
    """The storage's region, part of each signature."""

    prefix: values.Prefix = ""
    """The beginning of objects' names, as `results/`."""

    address: Literal["path", "host"] = "path"
    """The place of the bucket in addresses: in the `path`, or before the `host` name."""

    access_key: values.SecretName
    """The id of our key at the storage, by name only."""

    secret_key: values.SecretName
    """The key itself, by name only."""

    attachments: values.Flag = False
    """Put PDFs, pictures and texts that a FHIR document encloses as objects of their own, too."""

    tls: ConnectTls | None = None
    """Trust and client certificate for https."""

    @property
    def place(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.prefix}"

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        if host := host_in_clear(self.endpoint):
            yield ("endpoint",), f"results go to {host} in clear, though signed; {USE_HTTPS}"


class FileDestination(DestinationBase):
    """A folder that gets one file per document."""

    adapter = "adapters.destinations.file_out"
    example = """\
folder:
  kind: file
  folder: var/archive
"""

    kind: Literal["file"]
    """`file`: one file per document, written whole or not at all."""

    folder: values.FilePath
    """The folder; relative to the site's. It is made if it is missing."""

    @property
    def place(self) -> str:
        return str(self.folder)

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.folder,)


DestinationConfig = (
    FhirDestination
    | HttpDestination
    | MllpDestination
    | FileDestination
    | MqttDestination
    | KafkaDestination
    | S3Destination
)
OF_FEATURES: Hook[type[DestinationBase]] = Hook("destination")


@cache
def kinds() -> Mapping[str, type[DestinationBase]]:
    """The models by their ``kind``, those of features behind the core's."""
    models = (*get_args(DestinationConfig), *OF_FEATURES.each())
    return {get_args(model.model_fields["kind"].annotation)[0]: model for model in models}


def destination_type() -> Any:
    """The type of an entry of ``destinations:``."""
    return Annotated[reduce(or_, kinds().values()), Field(discriminator="kind")]
