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
    gauge, counting = metrics.gauge, metrics.counting
    gauge("jil_writer_writable", "1 when this node takes writes", lambda: float(writer.writable))
    gauge("jil_writer_queue", "Commands that wait", lambda: writer.queue_length)
    gauge("jil_writer_batch", "Commands in the last batch", lambda: counts.last_batch)
    counting("jil_writer_commits_total", "Commits", lambda: counts.commits)
    counting("jil_writer_commands_total", "Commands decided", lambda: counts.commands)
    counting("jil_writer_rejected_total", "Commands refused", lambda: counts.rejected)
    counting("jil_writer_failed_commits_total", "Commits that failed", lambda: counts.failed_commits)
    counting("jil_writer_unknown_commits_total", "Commits of unknown outcome", lambda: counts.unknown_commits)
    counting("jil_writer_commit_seconds_total", "Time spent in commits", lambda: counts.commit_us / 1e6)
    counting("jil_writer_decide_seconds_total", "Time spent deciding", lambda: counts.decide_us / 1e6)
    counting("jil_foreign_entries_total", "Entries of other nodes applied", lambda: counts.foreign_entries)
    gauge("jil_obligations_open", "Rows addressed to this node without an answer", lambda: len(obligations))
    gauge("jil_alarms", "Invariants broken, drifts, forks, sources beyond their bound", lambda: len(engine.alarms))
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
    metrics.gauges(
        "jil_source_resident_bytes",
        "What each source's rows take in tables that stay in memory whole",
        "source",
        lambda: dict(engine.weights),
    )
    gauge("jil_relay_lag", "Entries of this node that the bus lacks", lambda: 0 if relay is None else relay.lag)
    counting(
        "jil_dead_letters_total",
        "Unreadable records put aside",
        lambda: 0 if replicator is None else replicator.dead_letters,
    )
    gauge("jil_parts_failing", "Parts beside the writer that failed and are tried again", lambda: len(failing))
    metrics.gauges("jil_bus_lag", "Records behind, by lane", "lane", lambda: {} if bus is None else bus.lag())
