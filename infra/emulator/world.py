"""What all wrappers of the embedded AWS share: the profile, the meters and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.emulator.iam.decisions import Decisions
from infra.emulator.limits.failures import FailureModel
from infra.emulator.limits.latency import LatencyModel
from infra.emulator.meters import Meters
from infra.emulator.profile import Profile


class World:
    """One server process's profile, which may be replaced while it serves, its meters, and what
    its IAM decided."""

    def __init__(self, profile: Profile, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.meters = Meters()
        self.decisions = Decisions()
        self.keys: dict[str, str] = {}
        """The KMS key of what a stack encrypts with one of the customer's, by ARN."""
        self._changed: list[Callable[[Profile], None]] = []
        self.become(profile)

    def become(self, profile: Profile) -> None:
        """Follow another profile from now on."""
        self.profile = profile
        self.latency = LatencyModel(profile.seed, profile.latency)
        self.failures = FailureModel(profile.seed, profile.failures)
        for changed in self._changed:
            changed(profile)

    def on_change(self, changed: Callable[[Profile], None]) -> None:
        """Call ``changed`` with the profile now and whenever it is replaced."""
        self._changed.append(changed)
        changed(self.profile)
