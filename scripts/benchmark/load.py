"""A load generator that costs little: raw sockets, epoll, one process. Loopback only, bounded in time."""

import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

CONNECTIONS = 64


def requests(job: dict) -> Iterator[bytes]:
    """Transfers between neighbours in the list of accounts, each with a key of its own. With ``hot`` accounts, nine of
    ten requests are about those."""
    accounts, items, number = job["accounts"], job["items"], job["first"]
    hot = job.get("hot", 0)
    head = (
        f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {job['token']}\r\nidempotency-key: "
    )
    while True:
        count = hot if hot and number % 10 else len(accounts)
        transfers = [
            f'{{"debit":"{accounts[(number * 7 + item * 13) % count]}",'
            f'"credit":"{accounts[(number * 7 + item * 13 + 1 + number % 5) % count]}",'
            f'"asset":"{job["asset"]}","amount":"0.01"}}'
            for item in range(items)
        ]
        body = transfers[0] if items == 1 else f'{{"transfers":[{",".join(transfers)}]}}'
        yield f"{head}{job['prefix']}-{number}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        number += 1


def run(job: dict) -> dict:
    """{"requests", "seconds", "p50_ms", "p99_ms", "bytes_in", "bytes_out", "failures"}. With a ``rate`` (1/s) requests
    are sent when they are due, else as soon as a connection is free."""
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
