"""Settings: environment variables, typed. This file is the only reader of the environment.

``JIL_NODE_ID``, ``JIL_REGION`` and ``JIL_JURISDICTION`` differ between nodes; everything else has a default or is
shared. Secrets may come from files: ``JIL_DATABASE_URL_FILE`` names one that holds what ``JIL_DATABASE_URL`` would.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jilnode.kernel.names import source_id
from jilnode.kernel.system import is_web_address
from jilnode.limits import CACHE_BYTES_DEFAULT, RESIDENT_BYTES_PER_SOURCE_MAX
from jilnode.zone import DEVELOPMENT_ZONE, ZONE_CODES

__all__ = (
    "NETWORKS",
    "PORT_LAST",
    "Settings",
    "SettingsError",
    "describe",
    "inherited_environment",
    "load_settings",
    "server_url",
)

NETWORKS = ("dev", "devnet", "testnet", "mainnet")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
ZONE_ALIASES = {
    "JP_JFSA": "JP_FSA",
    "AE_ADGM": "AE_FSRA",
    "SG": "SG_MAS",
    "CH": "CH_FINMA",
    "IN_SEBI": "IN_RBI_SEBI",
    "IN_RBI": "IN_RBI_SEBI",
    "BR_BCB": "BR_CVM_BCB",
    "BR_CVM": "BR_CVM_BCB",
}
POSTGRESQL = "postgresql+asyncpg://"
PORT_LAST = 65535
# A server of a list: its name (none, or a socket's folder, too) or its address, and perhaps its port.
_SERVER = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^\[\]:]*)(?::([0-9]{1,5}))?")


class SettingsError(ValueError):
    """One or more settings are wrong. ``problems`` lists all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class _Kind(NamedTuple):
    """What a setting's text may be. ``parse`` raises ``ValueError``."""

    name: str
    parse: Callable[[str], Any]


def _switch(text: str) -> bool:
    if text.lower() not in ("on", "off", "true", "false", "1", "0"):
        raise ValueError("on or off")
    return text.lower() in ("on", "true", "1")


def _number(first: int, last: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not first <= int(text) <= last:
            raise ValueError(f"a whole number from {first} to {last}")
        return int(text)

    return parse


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        found = {name.lower(): name for name in names}.get(text.lower())
        if found is None:
            raise ValueError(f"one of {', '.join(names)}")
        return found

    return parse


def _many(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _web(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("an address that begins with http:// or https:// and holds no password")
    _check_servers(parts.netloc)
    return text.rstrip("/")


def _check_servers(location: str) -> None:
    """What stands between ``://`` and the path: perhaps a user, then a server or some. Nothing of it is repeated, since
    a password that is not escaped may look like a port."""
    for server in location.rpartition("@")[2].split(","):
        found = _SERVER.fullmatch(server)
        if found is None or int(found[1] or 0) > PORT_LAST:
            raise ValueError(
                f"host:port, the port a number up to {PORT_LAST}; in a password, escape @ / ? # as %40 %2F %3F %23"
            )


def _public(text: str) -> str:
    if not is_web_address(text):
        raise ValueError("http:// or https://, a host in ASCII, perhaps a port and a path, and nothing else")
    return text.rstrip("/")


def _networks(text: str) -> tuple[str, ...]:
    for item in _many(text):
        try:
            ip_network(item, strict=False)
        except ValueError:
            raise ValueError(f"addresses or networks, such as 10.0.0.0/8; {item!r} is neither") from None
    return _many(text)


def _brokers(text: str) -> tuple[str, ...]:
    for item in _many(text):
        host, _, port = item.rpartition(":")
        if not host or not port.isdigit() or not 1 <= int(port) <= PORT_LAST:
            raise ValueError(f"host:port, comma separated; {item!r} is not")
    return _many(text)


def server_url(text: str) -> str:
    """A PostgreSQL address as the store takes it. Raises ``ValueError``."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
        # The text is a secret: it is not repeated.
        raise ValueError("begins with postgresql://")
    _check_servers(re.split("[/?#]", rest, maxsplit=1)[0])
    return POSTGRESQL + rest


def _redis(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("begins with redis://, rediss:// or unix://")
    if not text.startswith("unix://"):
        _check_servers(re.split("[/?#]", text.partition("://")[2], maxsplit=1)[0])
    return text


TEXT = _Kind("text", str)
SWITCH = _Kind("on/off", _switch)
PORT = _Kind("port", _number(0, PORT_LAST))
COUNT = _Kind("number", _number(1, 2**62))
RESIDENT = _Kind("number", _number(RESIDENT_BYTES_PER_SOURCE_MAX, 2**62))
FILE = _Kind("file", Path)
FOLDER = _Kind("folder", Path)
PROXIES = _Kind("list", _networks)
WEB = _Kind("address", _web)
PUBLIC = _Kind("address", _public)
WEB_LIST = _Kind("list", lambda text: tuple(map(_web, _many(text))))
BROKERS = _Kind("list", _brokers)
DATABASE = _Kind("secret", server_url)
REDIS = _Kind("secret", _redis)
NODE = _Kind("id", source_id)
NETWORK = _Kind("name", _one_of(NETWORKS))
LEVEL = _Kind("name", _one_of(LOG_LEVELS))
ZONE = _Kind("code", lambda text: _one_of((*ZONE_CODES, DEVELOPMENT_ZONE))(ZONE_ALIASES.get(text.upper(), text)))


def _setting(name: str, kind: _Kind, default: Any, text: str) -> Any:
    return field(default=default, metadata={"name": name, "kind": kind, "text": text})


@dataclass(frozen=True, repr=False)
class Settings:
    node_id: str = _setting("JIL_NODE_ID", NODE, "dev-node-01", "this node's id; written in lower case")
    region: str = _setting("JIL_REGION", TEXT, "local", "where it runs, for people")
    jurisdiction: str = _setting("JIL_JURISDICTION", ZONE, DEVELOPMENT_ZONE, "whose rules it enforces")
    network: str = _setting("JIL_NETWORK", NETWORK, "dev", ", ".join(NETWORKS))
    data_dir: Path = _setting("JIL_DATA_DIR", FOLDER, Path("data"), "everything that this node keeps in files")
    database_url: str = _setting(
        "JIL_DATABASE_URL",
        DATABASE,
        "",
        "postgresql://user:password@host/name?sslmode=verify-full&sslrootcert=FILE; without it, SQLite in JIL_DATA_DIR",
    )
    identity_key_file: Path | None = _setting(
        "JIL_IDENTITY_KEY_FILE",
        FILE,
        None,
        "the key that seals its journal (PEM, Ed25519); else JIL_DATA_DIR/identity.pem",
    )
    redpanda_seeds: tuple[str, ...] = _setting("REDPANDA_SEEDS", BROKERS, (), "Kafka brokers, host:port")
    kafka_partitions: int = _setting("JIL_KAFKA_PARTITIONS", COUNT, 16, "of topic jil.events, when it is made")
    kafka_replication: int = _setting("JIL_KAFKA_REPLICATION", COUNT, 1, "of topic jil.events, when it is made")
    kafka_ca_file: Path | None = _setting("JIL_KAFKA_CA_FILE", FILE, None, "talk TLS to the brokers, trusting this")
    kafka_cert_file: Path | None = _setting("JIL_KAFKA_CERT_FILE", FILE, None, "and show this certificate")
    kafka_key_file: Path | None = _setting("JIL_KAFKA_KEY_FILE", FILE, None, "with this key")
    peers: tuple[str, ...] = _setting("JIL_PEERS", WEB_LIST, (), "nodes to follow over HTTP, without a broker")
    trust_file: Path | None = _setting("JIL_TRUST_FILE", FILE, None, "JSON: source id to the hash of its genesis")
    http_host: str = _setting("JIL_HTTP_HOST", TEXT, "127.0.0.1", "address to listen on")
    http_port: int = _setting("JIL_HTTP_PORT", PORT, 8400, "port to listen on; 0 takes a free one")
    http_cert_file: Path | None = _setting("JIL_HTTP_CERT_FILE", FILE, None, "serve HTTPS with this certificate")
    http_key_file: Path | None = _setting("JIL_HTTP_KEY_FILE", FILE, None, "and this key")
    public_url: str = _setting("JIL_PUBLIC_URL", PUBLIC, "", "where others reach this node; told to them")
    trusted_proxies: tuple[str, ...] = _setting("JIL_TRUSTED_PROXIES", PROXIES, (), "whose X-Forwarded-For to believe")
    forwarding: bool = _setting("JIL_FORWARDING", SWITCH, False, "pass misdirected requests on to the owner, once")
    rate_limit: bool = _setting("JIL_RATE_LIMIT", SWITCH, True, "10 requests a second and address, 20 at once")
    redis_url: str = _setting("JIL_REDIS_URL", REDIS, "", "share rate limits between processes through Redis")
    jwks_file: Path | None = _setting("JIL_JWKS_FILE", FILE, None, "public keys that users' tokens are checked with")
    jwks_url: str = _setting("JIL_JWKS_URL", WEB, "", "or where to fetch them")
    jwt_issuer: str = _setting("JIL_JWT_ISSUER", TEXT, "", "who must have issued a token")
    jwt_audience: str = _setting("JIL_JWT_AUDIENCE", TEXT, "jilnode", "whom a token must be for")
    cache_bytes: int = _setting("JIL_CACHE_BYTES", COUNT, CACHE_BYTES_DEFAULT, "memory for cached rows")
    resident_bytes: int = _setting(
        "JIL_RESIDENT_BYTES",
        RESIDENT,
        RESIDENT_BYTES_PER_SOURCE_MAX,
        "memory for what must stay there of each source that it follows",
    )
    log_level: str = _setting("JIL_LOG_LEVEL", LEVEL, "INFO", ", ".join(LOG_LEVELS))

    @property
    def development(self) -> bool:
        return self.network == "dev"

    @property
    def identity_path(self) -> Path:
        return self.identity_key_file or self.data_dir / "identity.pem"

    @property
    def database_path(self) -> Path:
        return self.data_dir / "node.db"

    @property
    def store_target(self) -> str:
        """This node's database as the commands that read journals name it."""
        return self.database_url or str(self.database_path)

    def missing(self) -> list[str]:
        """What a node can start without and will be missed."""
        found = []
        if (self.redpanda_seeds or self.peers) and self.trust_file is None:
            found.append("JIL_TRUST_FILE: it follows others and believes none of them, so their events wait")
        if (self.redpanda_seeds or self.peers) and not self.public_url:
            found.append("JIL_PUBLIC_URL: others can't tell their users where this node is")
        return found

    def __repr__(self) -> str:
        shown = []
        for item in fields(self):
            value = getattr(self, item.name)
            secret = item.metadata["kind"].name == "secret" and value
            shown.append(f"{item.name}={'***' if secret else repr(value)}")
        return f"Settings({', '.join(shown)})"


_BY_VARIABLE = {item.metadata["name"]: item for item in fields(Settings)}
_SECRETS = tuple(name for name, item in _BY_VARIABLE.items() if item.metadata["kind"].name == "secret")
_SECRET_FILES = {f"{name}_FILE": name for name in _SECRETS}


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Raises ``SettingsError`` with everything that is wrong, not only the first."""
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    names = (*_BY_VARIABLE, *_SECRET_FILES)
    for name in sorted(environment):
        if name.startswith("JIL_") and name not in names:
            near = difflib.get_close_matches(name, names, 1, cutoff=0)
            problems.append(f"{name} is not a setting; did you mean {near[0]}?")
    values: dict[str, Any] = {}
    for name, item in _BY_VARIABLE.items():
        text = environment.get(name, "").strip()
        if name in _SECRETS and (path := environment.get(f"{name}_FILE")):
            if text:
                problems.append(f"{name} and {name}_FILE: one of them")
            text = _read_secret(name, path, problems)
        if text:
            try:
                if item.metadata["kind"] not in (FILE, FOLDER):
                    _check_text(text)
                values[item.name] = item.metadata["kind"].parse(text)
            except ValueError as error:
                problems.append(f"{name}: {error}")
    if not problems:
        settings = Settings(**values)
        problems = _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _check_text(text: str) -> None:
    """A path may be of any bytes; what is sent or shown may not."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds bytes that are no text")


def _read_secret(name: str, path: str, problems: list[str]) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}_FILE: {path}: {getattr(error, 'strerror', None) or 'not text'}")
        return ""


def _contradictions(settings: Settings) -> list[str]:
    found = []
    if settings.jurisdiction == DEVELOPMENT_ZONE and not settings.development:
        found.append(f"JIL_JURISDICTION: {DEVELOPMENT_ZONE} allows everything and exists in network dev only")
    if settings.jwks_file and settings.jwks_url:
        found.append("JIL_JWKS_FILE and JIL_JWKS_URL: one of them")
    if not settings.development and not (settings.jwks_file or settings.jwks_url):
        found.append("JIL_JWKS_FILE or JIL_JWKS_URL: outside network dev, tokens are checked with somebody's keys")
    if (settings.jwks_file or settings.jwks_url) and not settings.jwt_issuer:
        found.append("JIL_JWT_ISSUER: say whose tokens are believed")
    if settings.redpanda_seeds and settings.peers:
        found.append("REDPANDA_SEEDS and JIL_PEERS: follow the others through one of them")
    if (settings.http_cert_file is None) != (settings.http_key_file is None):
        found.append("JIL_HTTP_CERT_FILE and JIL_HTTP_KEY_FILE: both or none")
    if (settings.kafka_cert_file is None) != (settings.kafka_key_file is None):
        found.append("JIL_KAFKA_CERT_FILE and JIL_KAFKA_KEY_FILE: both or none")
    if settings.kafka_cert_file is not None and settings.kafka_ca_file is None:
        found.append("JIL_KAFKA_CA_FILE: whose certificates are the brokers'?")
    for item in fields(settings):
        path = getattr(settings, item.name)
        made = item.name == "identity_key_file" and settings.development
        if item.metadata["kind"] is FILE and path is not None and not made and not path.is_file():
            found.append(f"{item.metadata['name']}: there is no file {path}")
    return found


def inherited_environment() -> dict[str, str]:
    """What a node that is started as a child inherits: everything but settings."""
    return {name: text for name, text in os.environ.items() if not name.startswith("JIL_") and name != "REDPANDA_SEEDS"}


class Description(NamedTuple):
    name: str
    kind: str
    default: str
    text: str


def describe() -> list[Description]:
    """Every setting, in the order of the class."""
    rows = []
    for name, item in _BY_VARIABLE.items():
        default = item.default
        if isinstance(default, bool):
            shown = "on" if default else "off"
        else:
            shown = "" if default in (None, ()) else str(default)
        shown_name = f"{name}[_FILE]" if name in _SECRETS else name
        rows.append(Description(shown_name, item.metadata["kind"].name, shown, item.metadata["text"]))
    return rows
