"""What is done to a running pipeline, one function a fault.

A function gets a :class:`~tests.chaos.site.Site` and returns when the harm is done and healed;
the invariants are checked by whoever called it. Faults of ``SHARED`` take turns on one site that
runs on; each of ``OWN`` has a site to itself, which it may settle as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tests.chaos.site import Site


class Fault(NamedTuple):
    """One fault: what it does, and how the site must be made for it."""

    name: str
    inflict: Callable[[Site], None]
    shared: bool
    site: dict[str, Any]


FAULTS: Final[dict[str, Fault]] = {}
"""By name, in the order they are run."""


def on_shared_site(inflict: Callable[[Site], None]) -> Callable[[Site], None]:
    """A fault after which the site goes on as before."""
    name = inflict.__name__
    FAULTS[name] = Fault(name, inflict, True, {})
    return inflict


def on_own_site(**site: Any) -> Callable[[Callable[[Site], None]], Callable[[Site], None]]:
    """A fault that needs a site made for it, with these arguments."""

    def register(inflict: Callable[[Site], None]) -> Callable[[Site], None]:
        FAULTS[inflict.__name__] = Fault(inflict.__name__, inflict, False, site)
        return inflict

    return register


def load_all() -> dict[str, Fault]:
    """Every fault there is."""
    from tests.chaos.faults import (
        alerts,
        archive,
        backlog,
        commands,
        daemon,
        deployments,
        devices,
        identity,
        lake,
        limits,
        processes,
        stalls,
        stores,
        stream,
    )

    _ = (
        alerts,
        archive,
        backlog,
        commands,
        daemon,
        deployments,
        devices,
        identity,
        lake,
        limits,
        processes,
        stalls,
        stores,
        stream,
    )
    return FAULTS
