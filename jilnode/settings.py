"""Settings: environment variables, typed. This file is the only reader of the environment.

``JIL_NODE_ID``, ``JIL_REGION`` and ``JIL_JURISDICTION`` differ between nodes; everything else has a default or is
shared.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jilnode.kernel.names import source_id
from jilnode.limits import CACHE_BYTES_DEFAULT
from jilnode.zone import DEVELOPMENT_ZONE, ZONE_CODES

__all__ = ("Settings", "SettingsError", "describe", "load_settings")

NETWORKS = ("dev", "devnet", "testnet", "mainnet")
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
SECRETS = ("JIL_DATABASE_URL", "JIL_REDIS_URL")
"""These may also come from a file: ``<name>_FILE``. They are never shown."""


class SettingsError(ValueError):
    """One or more settings are wrong. ``problems`` lists all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _text(value: str) -> str:
    return value


def _switch(value: str) -> bool:
    lowered = value.lower()
    if lowered not in ("on", "off", "true", "false", "1", "0"):
        raise ValueError("on or off")
    return lowered in ("on", "true", "1")


def _many(value: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in value.split(",") if item.strip())


def _port(value: str) -> int:
    port = int(value)
    if not 0 <= port <= 65535:
        raise ValueError("0 to 65535")
    return port


def _positive(value: str) -> int:
    number = int(value)
    if number <= 0:
        raise ValueError("more than 0")
    return number


def _path(value: str) -> Path:
    return Path(value)


def _zone(value: str) -> str:
    code = ZONE_ALIASES.get(value.upper(), value.upper())
    if code not in (*ZONE_CODES, DEVELOPMENT_ZONE):
        raise ValueError(f"one of {', '.join((*ZONE_CODES, DEVELOPMENT_ZONE))}")
    return code


def _network(value: str) -> str:
    if value not in NETWORKS:
        raise ValueError(f"one of {', '.join(NETWORKS)}")
    return value


def _setting(name: str, parse: Any, default: Any, text: str) -> Any:
    return field(default=default, metadata={"name": name, "parse": parse, "text": text})


@dataclass(frozen=True)
class Settings:
    node_id: str = _setting("JIL_NODE_ID", source_id, "dev-node-01", "this node's id, lower case")
    region: str = _setting("JIL_REGION", _text, "local", "where it runs, for people")
    jurisdiction: str = _setting("JIL_JURISDICTION", _zone, DEVELOPMENT_ZONE, "whose rules it enforces")
    network: str = _setting("JIL_NETWORK", _network, "dev", "dev, devnet, testnet or mainnet")
    data_dir: Path = _setting("JIL_DATA_DIR", _path, Path("data"), "everything that this node keeps in files")
    database_url: str = _setting(
        "JIL_DATABASE_URL", _text, "", "postgresql+asyncpg://…; without it, SQLite in the data directory"
    )
    redpanda_seeds: tuple[str, ...] = _setting("REDPANDA_SEEDS", _many, (), "Kafka brokers, host:port, comma separated")
    peers: tuple[str, ...] = _setting("JIL_PEERS", _many, (), "base URLs of nodes to follow without a broker")
    trust_file: Path | None = _setting(
        "JIL_TRUST_FILE", _path, None, "JSON: source id to the hash of its genesis entry"
    )
    identity_file: Path | None = _setting(
        "JIL_IDENTITY_FILE", _path, None, "this node's private key (PEM); default identity.pem in the data directory"
    )
    http_host: str = _setting("JIL_HTTP_HOST", _text, "127.0.0.1", "address to listen on")
    http_port: int = _setting("JIL_HTTP_PORT", _port, 8400, "port to listen on")
    public_url: str = _setting("JIL_PUBLIC_URL", _text, "", "where others reach this node; told to them")
    tls_certificate_file: Path | None = _setting("JIL_TLS_CERTIFICATE_FILE", _path, None, "serve HTTPS with this")
    tls_key_file: Path | None = _setting("JIL_TLS_KEY_FILE", _path, None, "and this key")
    jwks_file: Path | None = _setting("JIL_JWKS_FILE", _path, None, "public keys that sign users' tokens")
    jwks_url: str = _setting("JIL_JWKS_URL", _text, "", "or where to fetch them")
    jwt_issuer: str = _setting("JIL_JWT_ISSUER", _text, "", "who must have issued a token")
    jwt_audience: str = _setting("JIL_JWT_AUDIENCE", _text, "jilnode", "whom a token must be for")
    rate_limit: bool = _setting("JIL_RATE_LIMIT", _switch, True, "10 requests a second an address, bursts of 20")
    redis_url: str = _setting("JIL_REDIS_URL", _text, "", "share rate limits between processes through Redis")
    trusted_proxies: tuple[str, ...] = _setting("JIL_TRUSTED_PROXIES", _many, (), "whose X-Forwarded-For to believe")
    forwarding: bool = _setting("JIL_FORWARDING", _switch, False, "pass misdirected requests on to the owner, once")
    cache_bytes: int = _setting("JIL_CACHE_BYTES", _positive, CACHE_BYTES_DEFAULT, "memory for cached rows")
    log_level: str = _setting("JIL_LOG_LEVEL", _text, "INFO", "DEBUG, INFO, WARNING or ERROR")
    kafka_partitions: int = _setting("JIL_KAFKA_PARTITIONS", _positive, 16, "of topic jil.events, when it is made")
    kafka_replication: int = _setting("JIL_KAFKA_REPLICATION", _positive, 1, "of topic jil.events, when it is made")
    kafka_ca_file: Path | None = _setting("JIL_KAFKA_CA_FILE", _path, None, "talk TLS to the brokers, trusting this")
    kafka_certificate_file: Path | None = _setting("JIL_KAFKA_CERTIFICATE_FILE", _path, None, "and show this")
    kafka_key_file: Path | None = _setting("JIL_KAFKA_KEY_FILE", _path, None, "with this key")

    @property
    def development(self) -> bool:
        return self.network == "dev"

    @property
    def store_url(self) -> str:
        return self.database_url or f"sqlite:{self.data_dir / 'node.db'}"

    def __repr__(self) -> str:
        values = [(item.name, item.metadata["name"], getattr(self, item.name)) for item in fields(self)]
        shown = [
            f"{name}={'***' if value and variable in SECRETS else repr(value)}" for name, variable, value in values
        ]
        return f"Settings({', '.join(shown)})"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Raises ``SettingsError`` with everything that is wrong, not only the first."""
    environment = os.environ if environment is None else environment
    known = {item.metadata["name"]: item for item in fields(Settings)}
    problems: list[str] = []
    values: dict[str, Any] = {}
    for name in environment:
        base = name.removesuffix("_FILE") if name.removesuffix("_FILE") in SECRETS else name
        if name.startswith("JIL_") and base not in known:
            near = difflib.get_close_matches(name, known, 1)
            problems.append(f"{name} is no setting{f'; did you mean {near[0]}?' if near else ''}")
    for name, item in known.items():
        text = environment.get(name, "")
        if name in SECRETS and not text and (path := environment.get(f"{name}_FILE")):
            try:
                text = Path(path).read_text().strip()
            except OSError as error:
                problems.append(f"{name}_FILE: {error.strerror}")
        if text:
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                problems.append(f"{name}: {error}")
    settings = Settings(**values)
    problems += _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings


def _contradictions(settings: Settings) -> list[str]:
    found = []
    if settings.jurisdiction == DEVELOPMENT_ZONE and not settings.development:
        found.append(f"JIL_JURISDICTION: {DEVELOPMENT_ZONE} allows everything and exists in network dev only")
    if not settings.development and not (settings.jwks_file or settings.jwks_url):
        found.append("JIL_JWKS_FILE or JIL_JWKS_URL: outside network dev, users' tokens need their keys")
    if (settings.jwks_file or settings.jwks_url) and not settings.jwt_issuer:
        found.append("JIL_JWT_ISSUER: whose tokens are believed?")
    if settings.redpanda_seeds and settings.peers:
        found.append("REDPANDA_SEEDS and JIL_PEERS: follow the others through one of them")
    if (settings.redpanda_seeds or settings.peers) and settings.trust_file is None:
        found.append("JIL_TRUST_FILE: with others to follow, say whom to believe")
    if bool(settings.tls_certificate_file) != bool(settings.tls_key_file):
        found.append("JIL_TLS_CERTIFICATE_FILE and JIL_TLS_KEY_FILE: both or none")
    if settings.database_url and not settings.database_url.startswith("postgresql+asyncpg://"):
        found.append("JIL_DATABASE_URL: begins with postgresql+asyncpg://")
    return found


def describe() -> list[tuple[str, str, str]]:
    """(name, default, what it is) of every setting, in the order of the class."""
    rows = []
    for item in fields(Settings):
        default = item.default
        shown = ",".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
        name = item.metadata["name"]
        rows.append((f"{name} ({name}_FILE)" if name in SECRETS else name, shown, item.metadata["text"]))
    return rows
