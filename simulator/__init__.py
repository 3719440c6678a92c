"""Load from virtual devices, a ledger of what they sent, and a verifier of what arrived.

::

    from simulator import Ledger, load_scenario, verify

Names are imported when they are first used: a program that verifies does not load the MQTT
client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.errors import FleetError, LedgerError, ScenarioError, SimulatorError
    from simulator.load.director import Director
    from simulator.load.fleet import FleetRunner, run_fleet
    from simulator.load.transport import KinesisTransport, MqttTransport
    from simulator.scenario import Faults, Fleet, Phase, Scenario, load_scenario, steady_fleet
    from simulator.verification.ledger import Entry, Ledger, read_entries
    from simulator.verification.observe import Observed, observe
    from simulator.verification.oracle import Rules
    from simulator.verification.verifier import Report, verify

_MODULES = {
    "Director": "load.director",
    "Entry": "verification.ledger",
    "Faults": "scenario",
    "Fleet": "scenario",
    "FleetError": "errors",
    "FleetRunner": "load.fleet",
    "KinesisTransport": "load.transport",
    "Ledger": "verification.ledger",
    "LedgerError": "errors",
    "MqttTransport": "load.transport",
    "Observed": "verification.observe",
    "Phase": "scenario",
    "Report": "verification.verifier",
    "Rules": "verification.oracle",
    "Scenario": "scenario",
    "ScenarioError": "errors",
    "SimulatorError": "errors",
    "load_scenario": "scenario",
    "observe": "verification.observe",
    "read_entries": "verification.ledger",
    "run_fleet": "load.fleet",
    "steady_fleet": "scenario",
    "verify": "verification.verifier",
}

__all__ = [
    "Director",
    "Entry",
    "Faults",
    "Fleet",
    "FleetError",
    "FleetRunner",
    "KinesisTransport",
    "Ledger",
    "LedgerError",
    "MqttTransport",
    "Observed",
    "Phase",
    "Report",
    "Rules",
    "Scenario",
    "ScenarioError",
    "SimulatorError",
    "load_scenario",
    "observe",
    "read_entries",
    "run_fleet",
    "steady_fleet",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'simulator' has no attribute {name!r}")
    return getattr(importlib.import_module(f"simulator.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
