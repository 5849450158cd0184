"""What the settings name, tried before the node is built: a file that is there may still be the wrong one."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from jilnode.events.kafka import kafka_tls
from jilnode.http.keys import keys_from_url, parse_keys
from jilnode.settings import Settings

__all__ = ("faults",)


def faults(settings: Settings) -> list[str]:
    """Each names the setting. Asks nobody, and makes nothing."""
    found: list[str] = []

    def attempt(names: str, work: Callable[[], object]) -> None:
        try:
            work()
        except ssl.SSLError as error:
            found.append(f"{names}: {(error.reason or 'no certificate').lower().replace('_', ' ')}")
        except OSError as error:
            found.append(f"{names}: {error.strerror or error}")
        except (ValueError, AttributeError, TypeError) as error:
            found.append(f"{names}: {error}")

    if (keys_file := settings.jwks_file) is not None:
        attempt("JIL_JWKS_FILE", lambda: parse_keys(keys_file.read_bytes()))
    if settings.jwks_url:
        attempt("JIL_JWKS_URL", lambda: keys_from_url(settings.jwks_url))
    if settings.http_cert_file is not None:
        attempt("JIL_HTTP_CERT_FILE, JIL_HTTP_KEY_FILE", lambda: _server_tls(settings))
    if settings.kafka_ca_file is not None:
        files = [settings.kafka_ca_file, settings.kafka_cert_file, settings.kafka_key_file]
        names = "JIL_KAFKA_CA_FILE, JIL_KAFKA_CERT_FILE, JIL_KAFKA_KEY_FILE"
        attempt(names, lambda: kafka_tls(*[None if path is None else str(path) for path in files]))
    if not _can_be_written(settings.data_dir):
        found.append(f"JIL_DATA_DIR: {settings.data_dir} can't be written")
    return found


def _server_tls(settings: Settings) -> None:
    assert settings.http_cert_file is not None
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.http_cert_file, settings.http_key_file)


def _can_be_written(folder: Path) -> bool:
    """Or made: then the nearest folder that is there counts."""
    path = folder.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)
