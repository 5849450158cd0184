"""A load generator that costs little: raw sockets, epoll, one process. Loopback only, bounded in time."""

import json
import select
import socket
import sys
import time
from collections.abc import Iterator

CONNECTIONS = 64


def requests(job: dict) -> Iterator[bytes]:
    """Transfers between neighbours in the list of accounts, each with a key of its own."""
    accounts, items, number = job["accounts"], job["items"], job["first"]
    head = (
        f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {job['token']}\r\nidempotency-key: "
    )
    count = len(accounts)
    while True:
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
    """{"requests", "seconds", "latencies_ms" (p50, p99), "bytes_in", "bytes_out", "failures"}."""
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
    for number, link in connections.items():
        request = next(prepared)
        bytes_out += len(request)
        started[number] = time.perf_counter()
        link.sendall(request)
        waiting[number] = b""
    open_requests = len(connections)
    while open_requests:
        for number, _ in poll.poll(5.0) or [(None, 0)]:
            if number is None:
                raise TimeoutError("the server does not answer")
            data = waiting[number] + connections[number].recv(262_144)
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0 or len(data) < head_end + 4 + _length(data[:head_end]):
                waiting[number] = data
                continue
            now = time.perf_counter()
            latencies.append(now - started[number])
            bytes_in += len(data)
            failures += data[9:10] != b"2"
            waiting[number] = b""
            if now > end:
                open_requests -= 1
                poll.unregister(number)
                continue
            request = next(prepared)
            bytes_out += len(request)
            started[number] = now
            connections[number].sendall(request)
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
