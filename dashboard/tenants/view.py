"""What one principal may see and do of a deployment: the only way from a request to the hot tables.

Handlers get a :class:`View` and nothing else, so none of them can answer with what its caller may
not see. Whatever reads or writes on behalf of a caller belongs here; ``tests/unit/test_tenants.py``
holds that no handler reaches the feed, its clients or the queries by itself.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

from dashboard import alerts, queries
from dashboard.answers import (
    Alert,
    AlertTransition,
    Command,
    Device,
    Figures,
    FreshDevice,
    ListedDevice,
    Window,
)
from dashboard.errors import ForbiddenError, NotFoundError
from dashboard.feed import Feed, Shadows, Tables, Writer
from dashboard.fleet import Snapshot
from dashboard.principal import Principal, Role
from dashboard.tenants.alarms import OwnAlarms
from dashboard.tenants.visible import GROUP, is_visible, restrict
from ingest.commands import store
from ingest.commands.command import Known, Scalar
from ingest.commands.document import Commands
from ingest.tables import alarm_acts
from ingest.tables.alarms import DeviceAlarms, Kind
from ingest.tiers import Tier

KEPT: Final = 64
"""Restricted snapshots that are kept, one for each set of groups, those used last."""


class Views:
    """Makes views of one feed. ``is_up`` is for everybody, and nothing else is."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._restricted: OrderedDict[frozenset[str], tuple[Snapshot, Snapshot]] = OrderedDict()

    @property
    def is_up(self) -> bool:
        """Whether the newest read of the hot tables succeeded."""
        return not self._feed.error

    def of(self, principal: Principal) -> View:
        """The view of whoever sends a request; it is made for each."""
        return View(self._feed, principal, self._snapshot_of)

    def _snapshot_of(self, principal: Principal) -> Snapshot:
        """The newest snapshot as the principal may see it, made once for all who see the same."""
        whole, groups = self._feed.snapshot, principal.groups
        if groups is None:
            return whole
        made_of, made = self._restricted.get(groups, (None, whole))
        if made_of is not whole:
            made = restrict(whole, principal)
        self._restricted[groups] = (whole, made)
        self._restricted.move_to_end(groups)
        if len(self._restricted) > KEPT:
            self._restricted.popitem(last=False)
        return made


class View:
    """One principal's view. A device, an alert or a figure that it may not see does not exist in
    it: what is asked of it is answered as for a name that nobody ever gave."""

    def __init__(
        self, feed: Feed, principal: Principal, snapshot_of: Callable[[Principal], Snapshot]
    ) -> None:
        self.principal = principal
        self._feed = feed
        self._snapshot_of = snapshot_of
        self._rows: dict[str, Device] = {}

    # -- the fleet ---------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot."""
        return self._snapshot_of(self.principal)

    @property
    def error(self) -> str:
        """Why the tables do not answer, empty while they do. What AWS says names the account."""
        if self._feed.error and not self._sees_all:
            return "DynamoDB does not answer"
        return self._feed.error

    def now_ms(self) -> int:
        """The time (ms)."""
        return self._feed.now_ms()

    async def after(self, known: Snapshot, timeout_s: float) -> Snapshot | None:
        """The newest snapshot, once it is another one than ``known``; ``None`` after ``timeout_s``.
        A change of what is not visible is none."""
        until = time.monotonic() + timeout_s
        while True:
            newest = self.snapshot
            if self._is_news(known, newest):
                return newest
            version = self._feed.snapshot.version
            if await self._feed.after(version, until - time.monotonic()) is None:
                return None

    def _is_news(self, known: Snapshot, newest: Snapshot) -> bool:
        if self._sees_all:
            return newest.version > known.version
        return newest.read != known.read or newest.alerts != known.alerts

    def with_trends(self, rows: Iterable[FreshDevice]) -> list[ListedDevice]:
        """Rows of this view with their last values."""
        return self._feed.sparks.listed(rows)

    def trends(self, since_ms: int) -> list[Figures]:
        """The fleet's figures from ``since_ms`` on; they are added up over all groups, so who sees
        some groups only has none."""
        return self._feed.trends.since(since_ms) if self._sees_all else []

    def watch(self, devices: Iterable[str]) -> None:
        """Show these devices live, for a minute."""
        known = self.snapshot.devices
        self._feed.watch(name for name in devices if self._sees_all or name in known)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """While somebody looks, changes of alerts are followed."""
        self._feed.viewers += 1
        try:
            yield
        finally:
            self._feed.viewers -= 1

    def process_figures(self) -> list[tuple[str, str, float]]:
        """This process's own figures: name, kind, value.

        :raises NotFoundError: for those who do not see everything.
        """
        if not self._sees_all:
            raise NotFoundError("Not Found")
        feed = self._feed
        return [
            ("penstock_dashboard_devices", "gauge", len(feed.snapshot.devices)),
            ("penstock_dashboard_streams", "gauge", feed.viewers),
            ("penstock_dashboard_reads_total", "counter", feed.reads),
            ("penstock_dashboard_read_seconds", "gauge", round(feed.read_s, 4)),
            ("penstock_dashboard_healthy", "gauge", int(not feed.error)),
        ]

    # -- one device --------------------------------------------------------------------------

    async def device(self, name: str) -> Device:
        """A device as the roster has it now; read once for a view.

        :raises NotFoundError: when the roster does not have it, or it is of another group.
        """
        row: Device | None = self._rows.get(name)
        if row is None:
            row = await self._call(queries.device, self._feed.client, self._tables.devices, name)
            if row is None or not self.principal.sees(row["group"]):
                raise NotFoundError(f"there is no device {name}")
            self._rows[name] = row
        return row

    async def live_device(self, name: str) -> Device:
        """A device with what its current windows know better, shown live for a minute.

        :raises NotFoundError: as :meth:`device`.
        """
        row = await self.device(name)
        self._feed.watch([name])
        rows: list[Device] = await self._call(self._feed.live, [row])
        return rows[0]

    async def windows(
        self, name: str, tier: Tier, *, start_ms: int, end_ms: int, limit: int, cursor: str | None
    ) -> tuple[list[Window], str | None]:
        """A page of a device's windows, as :func:`dashboard.queries.windows`.

        :raises NotFoundError: as :meth:`device`.
        """
        await self.device(name)
        found = await self._call(
            queries.windows, self._feed.client, self._tables.windows, name, tier,
            start_ms=start_ms, end_ms=end_ms, limit=limit, cursor=cursor,
            now_s=self._feed.now_ms() / 1000,
        )  # fmt: skip
        return cast(tuple[list[Window], str | None], found)

    # -- alerts ------------------------------------------------------------------------------

    @property
    def may_change_alerts(self) -> bool:
        """Whether alerts can be acknowledged and muted."""
        return self._feed.writer is not None and self.principal.may("operator")

    async def open_alerts(self, limit: int, cursor: str | None) -> tuple[list[Alert], str | None]:
        """A page of open alerts, as :func:`dashboard.alerts.open_page`."""
        found = await self._call(
            alerts.open_page, self._feed.client, self._alerts_table(), limit, cursor, self._half()
        )
        return cast(tuple[list[Alert], str | None], found)

    async def alert_history(
        self, wanted: alerts.Wanted, limit: int, cursor: str | None
    ) -> tuple[list[AlertTransition], str | None]:
        """A page of transitions, as :func:`dashboard.alerts.history_page`."""
        table = self._alerts_table()
        if wanted.device and not await self._is_subject(wanted.device):
            return [], None
        found = await self._call(
            alerts.history_page, self._feed.client, table, wanted, limit, cursor, self._half()
        )
        return cast(tuple[list[AlertTransition], str | None], found)

    async def alerts_of(self, subject: str) -> list[Alert]:
        """The alerts of a device or a group, open or not; none of one that does not exist."""
        table = self._alerts_table()
        if not await self._is_subject(subject):
            return []
        item = await self._call(alerts.device_item, self._feed.client, table, subject)
        return alerts.alerts_of(item) if item else []

    async def change_alert(
        self, subject: str, rule: str, kind: Kind, by: str, until_ms: int = 0
    ) -> list[Alert]:
        """Acknowledge or mute an alert, until a time (ms), and record who did it; returns the
        subject's alerts as they are then. ``by`` counts where the principal has no name.

        :raises ForbiddenError: when the role may not, or nobody may here.
        :raises NotFoundError: when there is no such alert.
        :raises LookupError, AlarmBusyError, ClientError: as
            :func:`ingest.tables.alarm_acts.change_alarms` does.
        """
        table, writer = self._alerts_table(), self.require_changes()
        who = self.principal.name or by
        absent, now_ms = NotFoundError(f"{subject} has no alert of rule {rule}"), self.now_ms()
        if not await self._is_subject(subject):
            raise absent

        def change(alarms: DeviceAlarms) -> None:
            if rule not in alarms.states:
                raise absent
            alarms.act(rule, kind, who, until_ms, now_ms=now_ms)

        def write() -> list[Alert]:
            act = writer.acts.begin(
                f"{kind} {rule} on {subject}", by=who, verified=self._verified, via="dashboard",
                details={"until_ms": str(until_ms)} if until_ms else {},
            )  # fmt: skip
            with writer.acts.ending(act):
                alarm_acts.change_alarms(writer.alarms, table, subject, change, self._feed.now_ms)
            key = {"device": {"S": subject}}
            item = writer.alarms.get_item(TableName=table, Key=key, ConsistentRead=True)
            return alerts.alerts_of(item["Item"])

        return cast(list[Alert], await self._call(write))

    # -- commands ----------------------------------------------------------------------------

    @property
    def may_send_commands(self) -> bool:
        """Whether commands can be sent."""
        shadows = self._feed.shadows
        return bool(shadows and shadows.sends and self.principal.may("operator"))

    async def commands_of(self, name: str) -> list[Command]:
        """The newest commands to a device.

        :raises NotFoundError: as :meth:`device`, and when commands are not read here.
        """
        shadows = self._shadows()
        await self.device(name)
        found: Commands = await self._call(store.read_commands, shadows.reads, name)
        return [_command(one) for one in found.known(self._feed.now_ms())]

    async def send_command(
        self, name: str, id_: str, command: str, args: Mapping[str, Scalar], expires_s: float,
        by: str,
    ) -> Command:  # fmt: skip
        """Send a command, and record who did it. ``by`` counts where the principal has no name.

        :raises ForbiddenError: when the role may not, or nobody may here.
        :raises NotFoundError: as :meth:`device`, and when commands are not read here.
        :raises ValueError, CommandBusyError, ClientError: as
            :func:`ingest.commands.store.send_command` does.
        """
        shadows = self._shadows()
        self.require("operator")
        if shadows.sends is None or shadows.acts is None:
            raise ForbiddenError(
                "this dashboard only reads: use `penstock device command send` instead"
            )
        await self.device(name)
        sends, acts, who = shadows.sends, shadows.acts, self.principal.name or by

        def send() -> Known:
            act = acts.begin(
                f"send the command {command[:64]} ({id_}) to device {name}", by=who,
                verified=self._verified, via="dashboard", details={"expires_s": f"{expires_s:g}"},
            )  # fmt: skip
            with acts.ending(act):
                return store.send_command(
                    sends, name, id_, command, args, expires_s=expires_s, by=who,
                    now_ms=self._feed.now_ms,
                )  # fmt: skip

        return _command(await self._call(send))

    def _shadows(self) -> Shadows:
        if self._feed.shadows is None:
            raise NotFoundError("commands are not read here: use `penstock device command list`")
        return self._feed.shadows

    @property
    def _verified(self) -> str:
        """What is known of the caller for certain."""
        return f"{self.principal.name or 'nobody named'}, {self.principal.role}"

    def require_changes(self) -> Writer:
        """What writes acts on alerts.

        :raises ForbiddenError: when the role may not, or nobody may here.
        """
        self._alerts_table()
        self.require("operator")
        if self._feed.writer is None:
            raise ForbiddenError("this dashboard only reads: use `penstock alert` instead")
        return self._feed.writer

    def require(self, role: Role) -> None:
        """:raises ForbiddenError: when the principal's role may not do what ``role`` may."""
        if not self.principal.may(role):
            raise ForbiddenError(
                f"your role is {self.principal.role}, and this needs the role {role}"
            )

    # -- how it reads ------------------------------------------------------------------------

    @property
    def _sees_all(self) -> bool:
        return self.principal.groups is None

    @property
    def _tables(self) -> Tables:
        return self._feed.tables

    async def _call(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return await self._feed.call(work, *arguments, **named)

    def _alerts_table(self) -> str:
        if not self._feed.tables.alerts:
            raise NotFoundError(
                "this deployment has no alerts: set `alerts = true` in penstock.toml and deploy"
            )
        return self._feed.tables.alerts

    def _half(self) -> alerts.Half | None:
        if self._sees_all:
            return None
        devices = self.snapshot.devices
        return OwnAlarms(self._feed.client, self._tables.alerts, self.principal, devices).half

    async def _is_subject(self, subject: str) -> bool:
        """Whether an alert's subject exists, by the roster as it is now."""
        if self._sees_all or subject.startswith(GROUP):
            return is_visible(subject, {}, self.principal)
        try:
            await self.device(subject)
        except NotFoundError:
            return False
        return True


def _command(known: Known) -> Command:
    command = known.command
    return {
        "id": known.id, "name": command.name, "args": command.args, "status": known.status,
        "final": known.final, "detail": known.detail, "by": command.by, "at": command.at,
        "until": command.until, "changed": known.changed,
    }  # fmt: skip
