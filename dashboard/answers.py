"""What the API answers, as types: handlers return them, and the OpenAPI document is made of them.

They are dictionaries at run time, because a fleet's rows are kept and compared as such. Times are
integers in ms since the Unix epoch, UTC, unless a name or a comment says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from ingest.commands.command import Status as CommandStatus

Freshness = Literal["online", "late", "silent", "new"]

DeviceTime = Annotated[int, Meta(description="ms since 1970, the device's clock")]
RuleTime = Annotated[int, Meta(description="ms since 1970, the topic rule's clock")]
IsoTime = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Ranges = Annotated[str, Meta(description="ranges of sequence numbers, as 1-60,62")]


class Value(TypedDict):
    """A metric's newest value, and its event time."""

    v: float
    ts: DeviceTime


class Device(TypedDict):
    """A device as the roster has it. One that never sent has no metrics and no times."""

    device: str
    group: str
    type: str
    last_seen: RuleTime | None
    last_ts: DeviceTime | None
    boot: str | None
    seq: int | None
    metrics: dict[str, Value]


class FreshDevice(Device):
    """A device, and how long ago it was last heard, in a word."""

    status: Freshness


class ListedDevice(FreshDevice):
    """A device with the last values of one of its metrics, oldest first."""

    spark: list[float]


class Rejected(TypedDict):
    """What of a device was archived and not folded, since the workers' processes began: readings
    or records by disposition, and when the stream took the newest of them."""

    dispositions: dict[str, int]
    last_at: int


class DeviceDetail(FreshDevice):
    """A device with the names of the tiers that its windows come in, finest first. ``rejected`` is
    null when no worker reports anything of it that was not folded; workers report the devices with
    the newest such records only."""

    tiers: list[str]
    rejected: Rejected | None


class Listing(TypedDict):
    """A page of devices; ``total`` is how many match."""

    total: int
    offset: int
    version: int
    devices: list[ListedDevice]


class Metric(TypedDict):
    """A metric's aggregates in one window. ``first`` and ``last`` are by event time."""

    n: int
    mean: float
    min: float
    max: float
    first: float
    last: float
    stddev: float


class Point(Metric):
    """A metric's aggregates with the start of their window."""

    time: IsoTime
    device: str


class Window(TypedDict):
    """One window of a device."""

    tier: str
    start: IsoTime
    n: int
    first_ts: DeviceTime
    last_ts: DeviceTime
    ids: dict[str, Ranges]
    metrics: dict[str, Metric]


class Windows(TypedDict):
    """A page of a device's windows, oldest first; ``cursor`` is for the next page."""

    device: str
    tier: str
    windows: list[Window]
    cursor: str | None


class Boot(TypedDict):
    """The sequence numbers of one boot: the first and last seen, how many are present and how
    many are missing in between, and the first gaps as ``[from, to]``."""

    first: int
    last: int
    present: int
    missing: int
    gaps: list[list[int]]


Missing = TypedDict(
    "Missing", {"device": str, "tier": str, "from": int, "to": int, "boots": dict[str, Boot]}
)
"""What is missing of a device within a span (ms), by boot."""


class DeviceCounts(TypedDict):
    """Devices by freshness."""

    total: int
    online: int
    late: int
    silent: int
    new: int


class Latency(TypedDict):
    """Device to hot store (ms): the worst worker's percentiles."""

    p50: float | None
    p95: float | None
    p99: float | None


class Summary(TypedDict):
    """The fleet in a few figures. ``lag_ms`` is by shard, ``rejected`` by disposition. For those
    who see some groups only, what is added up over all groups is null or empty, and ``rejected``
    counts what workers report of their own devices."""

    at: int
    version: int
    devices: DeviceCounts
    messages_per_s: float | None
    readings_per_s: float | None
    latency_ms: Latency
    workers: int | None
    lag_ms: dict[str, int]
    rejected: dict[str, int]
    units: dict[str, str]
    groups: list[str]
    types: list[str]


class Latest(Summary):
    """What a live page shows: the summary, and the devices that it watches. ``error`` says why the
    tables did not answer last, empty when they did."""

    watched: list[ListedDevice]
    error: str


class Figures(TypedDict):
    """The fleet at one moment. ``rejected`` counts since the workers' processes began."""

    at: int
    online: int
    late: int
    silent: int
    messages_per_s: float | None
    readings_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    rejected: int


class FleetHistory(TypedDict):
    """The fleet's figures over the last hour, oldest first, as the process that answers read them;
    ``step_ms`` is the least time between two. Empty for those who see some groups only."""

    step_ms: int
    points: list[Figures]


class Shard(TypedDict):
    """A shard as its worker last reported it. ``lag_ms`` is the age of its oldest record that is
    not durable."""

    shard: str
    worker: str
    state: Literal["working", "lost", "unknown"]
    updated_at: int
    records: int
    lag_ms: int | None
    commits: int
    committed_at: int | None
    uncommitted_since: NotRequired[int | None]
    checkpointed_at: NotRequired[int | None]
    lease_lost: bool


class Reject(TypedDict):
    """A record in which no reading could be read; ``preview`` is the beginning of its bytes."""

    device: str | None
    disposition: str
    at: int
    preview: str


class Worker(TypedDict):
    """What one worker last reported of itself."""

    worker: str
    updated_at: int
    restarts: int
    conflicts: int
    throttled: int
    records: int
    durable: int


class Stream(TypedDict):
    """Shards, workers, and what was rejected lately. Those who see some groups only see what was
    rejected of their own devices."""

    at: int
    shards: list[Shard]
    dispositions: dict[str, int]
    rejects: list[Reject]
    workers: list[Worker]


Severity = Literal["info", "warning", "critical"]
AlertKind = Literal["raised", "cleared", "acknowledged", "muted", "unmuted"]


class Alert(TypedDict):
    """What a rule says of a device. ``since`` is the start of the window that raised or cleared it,
    by the device's clock; ``changed`` is when a worker or a person last changed an alarm of this
    device. ``acknowledged`` is by whom, empty when nobody did."""

    device: str
    rule: str
    severity: str
    text: str
    open: bool
    since: DeviceTime | None
    acknowledged: str
    muted_until: DeviceTime | None
    changed: int


class Alerts(TypedDict):
    """A page of open alerts, those that changed last first; ``cursor`` is for the next page.
    ``user`` is who asks, empty when nobody names the user; ``may_change`` is whether the user can
    acknowledge and mute alerts here."""

    alerts: list[Alert]
    cursor: str | None
    user: str
    may_change: bool


class AlertTransition(TypedDict):
    """One remembered transition, at the window that starts then. One that late data proved wrong
    does not stand. What a person did has ``by``, and ``window`` is when it was done; ``until`` is
    the end of a mute."""

    device: str
    rule: str
    severity: str
    kind: AlertKind
    window: DeviceTime
    stands: bool
    by: str
    until: int | None


class AlertHistory(TypedDict):
    """A page of transitions: of the devices whose alerts changed last first, newest first. A page
    may be empty and have a cursor, when nothing on it matches."""

    transitions: list[AlertTransition]
    cursor: str | None


class AlertAct(TypedDict):
    """What to change. ``by`` counts only where nobody names the user; ``until`` (ms) is the end
    of a mute."""

    device: str
    rule: str
    by: NotRequired[str]
    until: NotRequired[int]


class Command(TypedDict):
    """A command to a device; times in ms. ``until`` is until when the device may begin it, and
    ``detail`` what the device said of how it ended. ``final`` is false while the status can change,
    and of a ``TIMED_OUT`` that is only the deadline's."""

    id: str
    name: str
    args: dict[str, bool | int | float | str]
    status: CommandStatus
    final: bool
    detail: str
    by: str
    at: int
    until: int
    changed: int


class Commands(TypedDict):
    """The newest commands to a device, and whether the caller may send one."""

    device: str
    commands: list[Command]
    user: str
    may_send: bool


class CommandToSend(TypedDict):
    """What to send. ``expires_s`` is 60 unless it says otherwise; sent again under the same ``id``
    it is the same command. ``by`` counts only where nobody names the user."""

    name: str
    args: NotRequired[dict[str, bool | int | float | str]]
    expires_s: NotRequired[float]
    id: NotRequired[str]
    by: NotRequired[str]


class Health(TypedDict):
    """Whether the newest read of the hot tables succeeded."""

    status: Literal["ok", "degraded"]
    error: str


class Failure(TypedDict):
    """Why a request was not answered, in one sentence."""

    error: str


class Report(TypedDict):
    """A worker's report, as ``<stack>-status`` holds it: what the API reads of it."""

    worker: str
    updated_at: int
    restarts: int
    conflicts: int
    throttled: int
    records: int
    durable: int
    latency_ms: Latency
    messages_per_s: NotRequired[float]
    readings_per_s: NotRequired[float]
    dispositions: NotRequired[dict[str, int]]
    shards: NotRequired[list[Shard]]
    rejects: NotRequired[list[Reject]]
    rejected_devices: NotRequired[dict[str, Rejected]]
