"""The exceptions of a worker, one for each reaction::

    ConsumerError        a shard's process cannot go on: it logs one line and ends with status 1;
    │                    a successor begins again, or (the fifth within half a minute each, and
    │                    after a ProtocolError) the daemon ends too and is restarted
    ├── StoreError       a store refuses for good (access, a missing table, a broken request):
    │                    an operator must act, a restart fails again
    ├── GaveUpError      a service did not take a write for two minutes: the restart tries again
    ├── ProtocolError    the daemon sent what it cannot mean: the restart begins a new dialogue
    └── NotFinalError    a record reached the archive before it was folded: a defect of ours

Anything else that is raised is a defect too, and ends the process with its traceback.
"""

from __future__ import annotations


class ConsumerError(Exception):
    """A shard's process cannot go on; the text is one line for the operator."""


class StoreError(ConsumerError):
    """A store refuses the worker for good: access, a missing table, a broken request."""


class GaveUpError(ConsumerError):
    """A service did not take a write for :data:`consumers.aws.backoff.GIVE_UP_S`; the text says
    which service and why."""


class ProtocolError(ConsumerError):
    """The KCL daemon sent a line that it cannot have meant for this process."""


class NotFinalError(ConsumerError):
    """A record reached the archive before it was folded. Its rows would be archived with
    dispositions that are not decided yet."""


class LeaseLostError(ConsumerError):
    """Another worker has the shard: nothing more of it is this process's to do."""
