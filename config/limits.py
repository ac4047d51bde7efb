"""Every limit of hub and spoke, one table each: unit in the name, reason beside it, relations below."""

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class HubLimits:
    """The hub's limits. A set of values that breaks a relation is refused at start."""

    heartbeat_s: int = 10  # How often a spoke says that it is there.
    missed_beats: int = 3  # After so many without a word a spoke is unavailable.
    command_ttl_s: int = 900  # A command not accepted by then is dead: security.md 3b.
    republish_s: int = 20  # A command not accepted by then is published again under the same id.
    pick_up_s: int = 600  # A job that no spoke took by then is expired.
    job_wall_s: int = 3_600  # A step without a timeout of its own ends here.
    job_grace_s: int = 10  # Between TERM and KILL.
    job_out_bytes: int = GIB  # A run prints no more than this; the cut is said in the log.
    job_disk_bytes: int = 20 * GIB  # A run's work folder.
    task_deadline_s: int = 86_400  # No task is unfinished for longer.
    tasks_at_once: int = 200  # Deployments, previews and script runs of one hub node; more wait for a place.
    project_tasks_at_once: int = 100  # Of one project on all nodes, unless it says otherwise itself.
    queue_patience_s: int = 600  # A project that had no turn for so long goes before the fair order.
    queue_wait_s: int = 86_400  # A task whose turn did not come by then fails.
    answer_wait_s: int = 5  # The API waits so long for the engine, then answers 202.
    answer_keep_s: int = 86_400  # An idempotency key is remembered for a day.
    log_keep_s: int = 90 * 86_400  # Then a task's log, plan and files go; what runs somewhere now keeps its own.
    history_keep_s: int = 365 * 86_400  # Then tasks that were no deployment go; deployments stay with their project.
    event_keep_s: int = 30 * 86_400  # So far back an integration may ask for events that it has missed.
    body_bytes: int = 900 * KIB  # A JSON body of the API; it has to fit into one sealed intent.
    upload_bytes: int = 2 * GIB  # One package.
    streams: int = 200  # Open live logs a portal process; the next one is told to come back.
    stream_s: int = 600  # A live stream ends itself and is opened anew, rights checked again.
    hashes_at_once: int = 4  # argon2id takes 64 MiB each.
    api_rate_per_minute: int = 6_000  # Requests of one key.
    quarantine_rows: int = 100  # Unreadable messages kept for a look; a ring.
    inbox_batch: int = 200  # Messages recorded in one transaction.

    def __post_init__(self) -> None:
        _all_positive(self)
        _relation(self.command_ttl_s <= 86_400, "command_ttl_s must be at most 86400: security.md 3b")
        _relation(self.pick_up_s <= self.command_ttl_s, "pick_up_s must not be longer than command_ttl_s")
        _relation(self.republish_s < self.pick_up_s, "republish_s must be shorter than pick_up_s")
        _relation(self.pick_up_s >= 2 * self.heartbeat_s, "pick_up_s must be at least two heartbeats")
        _relation(self.job_wall_s + self.pick_up_s < self.task_deadline_s, "task_deadline_s must outlast one job")
        _relation(self.project_tasks_at_once <= self.tasks_at_once, "project_tasks_at_once must fit into tasks_at_once")
        _relation(self.queue_patience_s < self.queue_wait_s, "queue_patience_s must be shorter than queue_wait_s")
        _relation(self.log_keep_s >= 31 * 86_400, "log_keep_s must be at least 31 days: results may come for 30")
        _relation(self.history_keep_s >= self.log_keep_s, "history_keep_s must not be shorter than log_keep_s")
        _relation(self.body_bytes <= 900 * KIB, "body_bytes must fit into one intent: at most 921600")


@dataclass(frozen=True, slots=True)
class SpokeLimits:
    """A spoke's limits. A set of values that breaks a relation is refused at start."""

    jobs_at_once: int = 16  # Supervisors running side by side.
    log_frame_bytes: int = 256 * KIB  # Spool bytes in one message, before compression.
    log_window: int = 16  # Log messages sent and not yet confirmed.
    spool_keep_s: int = 7 * 86_400  # A finished run's spool, so that the hub may ask again.
    spool_keep_bytes: int = 2 * GIB  # All kept spools together; the oldest goes first.
    cache_bytes: int = 20 * GIB  # Chunks and assembled packages; the least used goes first.
    chunk_request: int = 2_048  # Chunk ids asked for in one request.
    transfer_s: int = 3_600  # One package's transfer, all tries together.
    gateway_timeout_s: int = 30  # Silence on a connection to the gateway.
    hello_wait_s: int = 60  # A welcome later than this is asked for anew: security.md 3b.
    session_s: int = 86_400  # A session is renewed after at most a day.
    journal_keep_s: int = 30 * 86_400  # Answered commands are remembered so long at the least.

    def __post_init__(self) -> None:
        _all_positive(self)
        _relation(self.log_frame_bytes <= 768 * KIB, "log_frame_bytes must fit an envelope of 1 MiB")
        _relation(self.session_s <= 86_400, "session_s must be at most a day: security.md 3b")
        _relation(self.journal_keep_s >= 7 * 86_400, "journal_keep_s must be at least seven days")


def _all_positive(limits: HubLimits | SpokeLimits) -> None:
    for field in fields(limits):
        _relation(getattr(limits, field.name) > 0, f"limits.{field.name} must be more than 0")


def _relation(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)
