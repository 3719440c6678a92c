"""The exceptions of ``simulator``: one type for each reaction of the caller.

.. code-block:: text

    SimulatorError
    ├── ScenarioError   a scenario or a replay cannot be run: correct the file
    ├── LedgerError     a ledger is missing, exists already, or is no ledger: name another file
    └── FleetError      a fleet's process ended on its own: the text says why
"""

from __future__ import annotations


class SimulatorError(Exception):
    """Base class. The text is a sentence that says what to do next."""


class ScenarioError(SimulatorError):
    """A scenario, or the table that it replays, cannot be run; the text says where and why."""


class LedgerError(SimulatorError):
    """A file cannot be used as a ledger."""


class FleetError(SimulatorError):
    """A fleet's process ended on its own; the text has the last line of its standard error."""
