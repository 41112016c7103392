"""A site's configuration: the models of ``config/labrelay.yaml`` and ``channels/*.yaml``, and `load_site`."""

from engine.config.channel import ChannelConfig, RouteConfig
from engine.config.destination import (
    AuthConfig,
    BasicAuth,
    BearerAuth,
    BreakerConfig,
    DestinationConfig,
    FhirDestination,
    FileDestination,
    HttpDestination,
    MllpDestination,
    RetryConfig,
)
from engine.config.keeping import BackupConfig, RetentionConfig
from engine.config.load import Site, load_site, serial_lines
from engine.config.sitewide import SiteConfig, SiteInfo, WebConfig
from engine.config.source import AstmSource, ConnectTls, MllpSource, ServerTls, SourceConfig, TcpPart
from engine.config.source_folder import FolderPart
from engine.config.source_serial import SerialPart
from engine.config.source_tee import TeePart

__all__ = [
    "AstmSource",
    "AuthConfig",
    "BackupConfig",
    "BasicAuth",
    "BearerAuth",
    "BreakerConfig",
    "ChannelConfig",
    "ConnectTls",
    "DestinationConfig",
    "FhirDestination",
    "FileDestination",
    "FolderPart",
    "HttpDestination",
    "MllpDestination",
    "MllpSource",
    "RetentionConfig",
    "RetryConfig",
    "RouteConfig",
    "SerialPart",
    "ServerTls",
    "Site",
    "SiteConfig",
    "SiteInfo",
    "SourceConfig",
    "TcpPart",
    "TeePart",
    "WebConfig",
    "load_site",
    "serial_lines",
]
