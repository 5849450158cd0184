"""Health, metrics, logs: what operators look at."""

import io
import json
import logging
import timeit

import pytest

from jilnode.http.logs import JsonFormatter
from jilnode.http.metrics import SIZE_BUCKETS, Histogram, Metrics
from jilnode.http.ports import Reason
from jilnode.http.trace import accepted
from tests.http.kit import FakeWriter, app_of, bearer, client_of, either_client


@pytest.mark.parametrize(
    ("reasons", "status", "word"),
    [
        ([], 200, "ready"),
        ([Reason("bus_down", "no broker", blocking=False)], 200, "degraded"),
        ([Reason("bus_down", "no broker", blocking=False), Reason("not_writable", "tail unknown")], 503, "blocked"),
    ],
)
async def test_ready(reasons: list[Reason], status: int, word: str) -> None:
    async with client_of(app_of(readiness=lambda: reasons)) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (status, word)
        assert [reason["code"] for reason in answer.json()["reasons"]] == [reason.code for reason in reasons]
        assert (await client.get("/healthz")).status_code == (await client.get("/livez")).status_code == 200


async def test_metrics_may_need_a_scope() -> None:
    async with client_of(app_of(metrics_public=False)) as client:
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers=bearer(scopes="notes.read"))).status_code == 403
        assert (await client.get("/metrics", headers=bearer(scopes="metrics"))).status_code == 200


async def test_requests_are_counted_by_template_not_by_address() -> None:
    async with client_of(app_of()) as client:
        for number in range(3):
            await client.post("/v1/notes", json={"text": "a"}, headers={**bearer(), "Idempotency-Key": str(number)})
            await client.get(f"/v1/notes/n{number}", headers=bearer())
            await client.get(f"/made-up-{number}")
            await client.request(f"MADE{number}", "/v1/notes")
        text = (await client.get("/metrics")).text
    assert 'jil_http_requests_total{method="POST",route="/v1/notes",status="201"} 3' in text
    assert 'jil_http_requests_total{method="GET",route="/v1/notes/{note}",status="404"} 3' in text
    assert 'jil_http_requests_total{method="GET",route="unmatched",status="404"} 3' in text
    assert 'jil_http_request_seconds_count{method="POST",route="/v1/notes"} 3' in text
    assert "made-up" not in text
    assert "MADE" not in text


def test_the_text_format() -> None:
    metrics = Metrics()
    metrics.counter("jil_a_total", "As", bus='k"\\\n').add(2)
    sizes = metrics.histogram("jil_batch_commands", "Batch", bounds=(1, 2.5))
    for value in (1, 2, 3):
        sizes.observe(value)
    metrics.gauge("jil_queue_commands", "Queue", lambda: 4)
    metrics.gauges("jil_lag_seconds", "Lag", "source", lambda: {"sg-mas-01": 0.5})
    assert metrics.text().decode() == (
        "# HELP jil_a_total As\n# TYPE jil_a_total counter\n"
        'jil_a_total{bus="k\\"\\\\\\n"} 2\n'
        "# HELP jil_batch_commands Batch\n# TYPE jil_batch_commands histogram\n"
        'jil_batch_commands_bucket{le="1"} 1\n'
        'jil_batch_commands_bucket{le="2.5"} 2\n'
        'jil_batch_commands_bucket{le="+Inf"} 3\n'
        "jil_batch_commands_sum 6\njil_batch_commands_count 3\n"
        "# HELP jil_lag_seconds Lag\n# TYPE jil_lag_seconds gauge\n"
        'jil_lag_seconds{source="sg-mas-01"} 0.5\n'
        "# HELP jil_queue_commands Queue\n# TYPE jil_queue_commands gauge\n"
        "jil_queue_commands 4\n"
    )
    with pytest.raises(ValueError, match="is a counter"):
        metrics.gauge("jil_a_total", "", lambda: 1)


def test_an_observation_is_cheap() -> None:
    histogram = Histogram(SIZE_BUCKETS)
    best_s = min(timeit.repeat(lambda: histogram.observe(30), number=10_000, repeat=5)) / 10_000
    assert best_s < 5e-6, "an observation is meant to cost less than a microsecond"


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("ch-zug-01"))
    logger = logging.getLogger("tests.http.logs")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel("INFO")
    return stream


def test_a_line_is_one_object(log: io.StringIO) -> None:
    logging.getLogger("tests.http.logs").info("started\n%s", "x", extra={"fields": {"port": 8400}})
    (line,) = log.getvalue().splitlines()
    record = json.loads(line)
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "node": "ch-zug-01",
        "logger": "tests.http.logs",
        "message": "started\nx",
        "port": 8400,
    }


def test_an_exception_s_message_stays_out(log: io.StringIO) -> None:
    for error in (ValueError("kestrel@example.com"), OSError(28, "No space left on device", "/home/kestrel")):
        try:
            raise error
        except Exception:
            logging.getLogger("tests.http.logs").exception("failed")
    first, second = (json.loads(line) for line in log.getvalue().splitlines())
    assert (first["error"], second["error"]) == ("ValueError", "OSError: No space left on device")
    assert "test_node_routes.py" in first["frames"][0]
    assert "kestrel" not in log.getvalue()


@pytest.mark.parametrize(("hot", "lines"), [(True, 3), (False, 5)])
async def test_no_planted_secret_is_logged(caplog: pytest.LogCaptureFixture, hot: bool, lines: int) -> None:
    """A body, a token, a key and an address, through every kind of answer; then none of them is in the log."""
    writer = FakeWriter()
    planted = "planted-value"
    with caplog.at_level(logging.DEBUG):
        async with either_client(app_of(writer, log_every=1), hot=hot) as client:
            headers = {**bearer(subject=planted), "Idempotency-Key": planted}
            for refusal in (None, RuntimeError(planted)):
                writer.refusal = refusal
                await client.post("/v1/notes", json={"text": planted}, headers=headers)
            await client.get(f"/v1/notes/{planted}?x={planted}", headers=headers)
            await client.get("/v1/notes", headers={"Authorization": f"Bearer {planted}"})
    formatter = JsonFormatter("n")
    ours = [formatter.format(record) for record in caplog.records if record.name.startswith("jilnode")]
    assert len(ours) == lines
    assert not [line for line in ours if planted in line]


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        (b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", True),
        (b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        (b"00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        (b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        (b"", False),
    ],
)
def test_traceparent(header: bytes, taken: bool) -> None:
    assert accepted(header) == (header.decode() if taken else None)
