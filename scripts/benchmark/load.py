"""A load generator that costs little: raw sockets, epoll, one process. Loopback only, bounded in time."""

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

CONNECTIONS = 64


def _transfer(job: dict, accounts: list[str], number: int, item: int) -> str:
    """Between neighbours in the list of accounts."""
    place, count = number * 7 + item * 13, len(accounts)
    return (
        f'{{"debit":"{accounts[place % count]}",'
        f'"credit":"{accounts[(place + 1 + number % 5) % count]}",'
        f'"asset":"{job["asset"]}","amount":"0.01"}}'
    )


def _resting(job: dict, accounts: list[str], number: int, item: int) -> str:
    """A sell at one of fifty prices from 100."""
    place = number * 7 + item * 13
    return _order(job, accounts[place % len(accounts)], "sell", f"{100 + place % 50}.00")


def _crossing(job: dict, accounts: list[str], number: int, item: int) -> str:
    """A buy that takes the first of those."""
    return _order(job, accounts[(number * 7 + item * 13 + 3) % len(accounts)], "buy", "200.00")


def _ladder(job: dict, accounts: list[str], number: int, item: int) -> str:
    """A sell at a price that no other has: which order a frame of the depth shows can be told by it."""
    return _order(job, accounts[number * 7 % len(accounts)], "sell", ladder_price(number))


def ladder_price(number: int) -> str:
    return f"{1000 + number // 100}.{number % 100:02d}"


def _order(job: dict, account: str, side: str, price: str) -> str:
    # All accounts are one subject's.
    return (
        f'{{"market":"{job["market"]}","account":"{account}","side":"{side}","quantity":"1","price":"{price}",'
        f'"prevention":"none"}}'
    )


BODIES: dict[str, tuple[str, Callable[[dict, list[str], int, int], str]]] = {
    "transfer": ("transfers", _transfer),
    "resting": ("orders", _resting),
    "crossing": ("orders", _crossing),
    "ladder": ("orders", _ladder),
}
"""kind -> (what a batch calls its items, the item number n of request number m)."""


def requests(job: dict) -> Iterator[bytes]:
    """Of one kind, each with a key of its own. With ``hot`` accounts, nine of ten requests are about those."""
    items, number = job["items"], job["first"]
    everybody = job["accounts"]
    few = everybody[: job.get("hot", 0)]
    plural, make = BODIES[job.get("kind", "transfer")]
    head = (
        f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {job['token']}\r\nidempotency-key: "
    )
    while True:
        accounts = few if few and number % 10 else everybody
        made = [make(job, accounts, number, item) for item in range(items)]
        body = made[0] if items == 1 else f'{{"{plural}":[{",".join(made)}]}}'
        yield f"{head}{job['prefix']}-{number}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        number += 1


def run(job: dict) -> dict:
    """{"requests", "begun", "seconds", "p50_ms", "p99_ms", "bytes_in", "bytes_out", "failures"}. With a ``rate`` (1/s)
    requests are sent when they are due, number n at ``begun + n / rate`` of the monotonic clock, else as soon as a
    connection is free."""
    poll = select.epoll()
    prepared = requests(job)
    connections: dict[int, socket.socket] = {}
    started: dict[int, float] = {}
    waiting: dict[int, bytes] = {}
    for _ in range(job["connections"]):
        link = socket.create_connection(("127.0.0.1", job["port"]))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(link.fileno(), select.EPOLLIN)
        connections[link.fileno()] = link
    latencies: list[float] = []
    bytes_in = bytes_out = failures = 0
    begun = time.perf_counter()
    end = begun + job["seconds"]
    pace_s = 1 / job["rate"] if "rate" in job else 0.0
    due = begun
    # In turn, so that none is idle for so long that the server ends it.
    idle = deque(connections)
    open_requests = 0
    while open_requests or idle:
        now = time.perf_counter()
        if now > end:
            idle.clear()
            if not open_requests:
                break
        while idle and due <= now:
            number = idle.popleft()
            request = next(prepared)
            bytes_out += len(request)
            # A request that had to wait for a free connection counts from when it was due.
            started[number] = due if pace_s else now
            connections[number].sendall(request)
            waiting[number] = b""
            open_requests += 1
            due += pace_s
        wait_s = max(0.0, min(due, end) - time.perf_counter()) if idle else 5.0
        ready = poll.poll(wait_s)
        if not ready and not idle and open_requests:
            raise TimeoutError("the server does not answer")
        for number, _ in ready:
            data = waiting[number] + connections[number].recv(262_144)
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0 or len(data) < head_end + 4 + _length(data[:head_end]):
                waiting[number] = data
                continue
            now = time.perf_counter()
            latencies.append(now - started[number])
            bytes_in += len(data)
            failures += data[9:10] != b"2"
            open_requests -= 1
            idle.append(number)
    seconds = time.perf_counter() - begun
    latencies.sort()
    return {
        "requests": len(latencies),
        "begun": begun,
        "seconds": seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "failures": failures,
    }


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length: ")
    return int(head[at + 16 : (head + b"\r\n").find(b"\r\n", at)]) if at >= 0 else 0


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
