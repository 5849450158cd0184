"""What a node tells Prometheus about itself, beside what HTTP counts."""

from collections.abc import Mapping

from jilnode.events.bus import Bus
from jilnode.events.relay import Relay
from jilnode.events.replicator import Replicator
from jilnode.http.metrics import Metrics
from jilnode.kernel.kernel import Kernel
from jilnode.kernel.sources import FOLLOWING

__all__ = ("register_metrics",)


def register_metrics(
    metrics: Metrics,
    kernel: Kernel,
    bus: Bus | None,
    relay: Relay | None,
    replicator: Replicator | None,
    failing: Mapping[str, str],
) -> None:
    """``failing``: the parts beside the writer that failed and are tried again."""
    writer = kernel.writer
    engine = kernel.engine
    counts = writer.statistics
    obligations = writer.chores.obligations
    gauge = metrics.gauge
    gauge("jil_writer_writable", "1 when this node takes writes", lambda: float(writer.writable))
    gauge("jil_writer_queue", "Commands that wait", lambda: writer.queue_length)
    gauge("jil_writer_batch", "Commands in the last batch", lambda: counts.last_batch)
    gauge("jil_writer_commits", "Commits since start", lambda: counts.commits)
    gauge("jil_writer_commands", "Commands decided since start", lambda: counts.commands)
    gauge("jil_writer_rejected", "Commands refused since start", lambda: counts.rejected)
    gauge("jil_writer_failed_commits", "Commits that failed since start", lambda: counts.failed_commits)
    gauge("jil_writer_unknown_commits", "Commits of unknown outcome since start", lambda: counts.unknown_commits)
    gauge("jil_writer_commit_seconds", "Time spent in commits since start", lambda: counts.commit_us / 1e6)
    gauge("jil_writer_decide_seconds", "Time spent deciding since start", lambda: counts.decide_us / 1e6)
    gauge("jil_foreign_entries", "Entries of other nodes applied since start", lambda: counts.foreign_entries)
    gauge("jil_obligations_open", "Rows addressed to this node without an answer", lambda: len(obligations))
    gauge("jil_alarms", "Invariants broken, drifts, forks since start", lambda: len(engine.alarms))
    metrics.gauges(
        "jil_source_size",
        "Entries known of each source",
        "source",
        lambda: {name: state.size for name, state in engine.sources.items()},
    )
    metrics.gauges(
        "jil_source_heard_seconds",
        "Age of each source's last tick",
        "source",
        lambda: {name: max(0, engine.clock.wall_us() - state.tick_us) / 1e6 for name, state in engine.sources.items()},
    )
    metrics.gauges(
        "jil_source_stopped",
        "1 for each source that is parked or suspended",
        "source",
        lambda: {name: float(state.status != FOLLOWING) for name, state in engine.sources.items()},
    )
    gauge("jil_relay_lag", "Entries of this node that the bus lacks", lambda: 0 if relay is None else relay.lag)
    gauge(
        "jil_dead_letters",
        "Unreadable records put aside since start",
        lambda: 0 if replicator is None else replicator.dead_letters,
    )
    gauge("jil_parts_failing", "Parts beside the writer that failed and are tried again", lambda: len(failing))
    metrics.gauges("jil_bus_lag", "Records behind, by lane", "lane", lambda: {} if bus is None else bus.lag())
