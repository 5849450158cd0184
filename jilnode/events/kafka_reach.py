"""Why no broker answers: Kafka's client says only that none does, and an operator has to know which of the five
certificates is wrong."""

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

__all__ = ("why_unreachable",)

CONNECT_TIMEOUT_S = 3.0
ALERT_TIMEOUT_S = 0.5
"""Since TLS 1.3 a broker that refuses a client's certificate says so only after the handshake."""


async def why_unreachable(seeds: Sequence[str], tls: ssl.SSLContext | None) -> str:
    """What the first broker that refuses says; empty when all take the connection."""
    for seed in seeds:
        host, _, port = seed.rpartition(":")
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls)
            if tls is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ALERT_TIMEOUT_S):
                        await reader.read(1)
        except ssl.SSLError as error:
            reason = (error.reason or "TLS failed").lower().replace("_", " ")
            return f"{seed}: {getattr(error, 'verify_message', '') or reason}"
        except TimeoutError:
            return f"{seed}: no answer within {CONNECT_TIMEOUT_S:g} s"
        except OSError as error:
            return f"{seed}: {error.strerror or type(error).__name__}"
        finally:
            if writer is not None:
                writer.transport.abort()
    return ""
