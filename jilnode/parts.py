"""The parts of a node that its settings choose: which store, which bus, whose keys. Nothing is started here."""

from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jilnode.events.bus import Bus
from jilnode.events.kafka import KafkaBus, kafka_tls
from jilnode.events.peer import PeerBus
from jilnode.http.app import NodeApp
from jilnode.http.auth import Authenticator
from jilnode.http.development import DEVELOPMENT_ISSUER, development_key, development_ring
from jilnode.http.forward import Forwarder
from jilnode.http.keys import KeyRing, keys_from_file, keys_from_url
from jilnode.http.rate_limit import RateLimiter, RateShare, redis_counts
from jilnode.http.server import HttpServer
from jilnode.identity import IdentityError, load_identity
from jilnode.kernel.engine import Engine
from jilnode.kernel.kernel import Kernel
from jilnode.kernel.ports import Store
from jilnode.kernel.registry import Registry
from jilnode.kernel.sources import SUSPENDED
from jilnode.kernel.writer import Writer
from jilnode.limits import DRAIN_TIMEOUT_S
from jilnode.module import Module
from jilnode.settings import Settings
from jilnode.stores.postgres import PostgresStore
from jilnode.stores.sqlite import SqliteStore
from jilnode.system_clock import SystemClock, SystemEntropy
from jilnode.zone import ZoneBoard, installed_zones

__all__ = (
    "build_authenticator",
    "build_bus",
    "build_forwarder",
    "build_kernel",
    "build_keys",
    "build_rate_share",
    "build_server",
    "development_key_path",
    "own_development_key",
)


def build_kernel(settings: Settings, modules: list[Module]) -> Kernel:
    """Raises ``IdentityError``."""
    engine = Engine(
        network=settings.network,
        source=settings.node_id,
        zone=settings.jurisdiction,
        key=load_identity(settings.identity_path, make=settings.development),
        registry=Registry(modules),
        zones=ZoneBoard(settings.jurisdiction, installed_zones(), development=settings.development),
        clock=SystemClock(),
        entropy=SystemEntropy(),
        cache_bytes=settings.cache_bytes,
        resident_bytes=settings.resident_bytes,
    )
    return Kernel(engine, _store(settings))


def _store(settings: Settings) -> Store:
    """Not opened yet: the kernel does that."""
    return PostgresStore(settings.database_url) if settings.database_url else SqliteStore(settings.database_path)


def build_bus(settings: Settings, writer: Writer, trusted: Mapping[str, str]) -> Bus | None:
    """None for a node alone."""
    if settings.redpanda_seeds:
        tls = kafka_tls(
            _or_none(settings.kafka_ca_file),
            _or_none(settings.kafka_cert_file),
            _or_none(settings.kafka_key_file),
        )
        return KafkaBus(
            settings.redpanda_seeds,
            settings.network,
            partitions=settings.kafka_partitions,
            replication=settings.kafka_replication,
            tls=tls,
        )
    if settings.peers:
        return PeerBus(settings.peers, writer, trusted)
    return None


def build_keys(settings: Settings) -> KeyRing:
    if settings.jwks_file is not None:
        return KeyRing(keys_from_file(settings.jwks_file))
    if settings.jwks_url:
        return KeyRing(keys_from_url(settings.jwks_url))
    return development_ring(own_development_key(settings))


def development_key_path(settings: Settings) -> Path:
    return settings.data_dir / "development.pem"


def own_development_key(settings: Settings) -> Ed25519PrivateKey:
    """What this node's tokens are signed with; made where there is none. Raises ``IdentityError``."""
    path = development_key_path(settings)
    try:
        return development_key(path)
    except (ValueError, TypeError):
        raise IdentityError(f"{path} is not an Ed25519 key in PEM; without that file a new one is made") from None


def build_authenticator(settings: Settings, keys: KeyRing) -> Authenticator:
    issuer = settings.jwt_issuer or DEVELOPMENT_ISSUER
    return Authenticator(keys, issuer=issuer, audience=settings.jwt_audience)


def build_rate_share(settings: Settings, limiter: RateLimiter | None) -> RateShare | None:
    """None where each process counts for itself."""
    if limiter is None or not settings.redis_url:
        return None
    return RateShare(limiter, redis_counts(settings.redis_url))


def build_forwarder(settings: Settings, engine: Engine) -> Forwarder | None:
    if not settings.forwarding:
        return None

    def suspended(owner: str) -> bool:
        state = engine.sources.get(owner)
        return state is not None and state.status == SUSPENDED

    return Forwarder(settings.node_id, plain_http=settings.development, suspended=suspended)


def build_server(settings: Settings, app: NodeApp) -> HttpServer:
    return HttpServer(
        app,
        settings.http_host,
        settings.http_port,
        certificate_file=_or_none(settings.http_cert_file),
        key_file=_or_none(settings.http_key_file),
        drain_s=DRAIN_TIMEOUT_S,
    )


def _or_none(path: Path | None) -> str | None:
    return None if path is None else str(path)
