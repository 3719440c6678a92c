"""A day of 1,000 shards and 1,000,000 devices in virtual time, and what gives way first.

``python -m benchmarks.scale`` plays it in some minutes on one core, ``--quick`` six hours of it.

**Real**, in :mod:`benchmarks.scale.real`: of two shards every record of the day goes through
the worker's own processor (decoder, fold, optimistic writer, segment writer, checkpoints) on a
virtual clock, with tables and a bucket in memory that answer after the latencies of the profile
"like AWS" and refuse what is above the shard's share of the tables' capacity. A process that loses
its lease is replaced by a new one, which begins at the checkpoint. Real too: which device is on
which shard (MD5 of the partition key), leases a task carries
(:func:`consumers.kcl.capacity.capacity`), the scaling rule (:mod:`benchmarks.scaling`), the status
item, items' sizes, list prices.

**A model**, in :mod:`benchmarks.scale.world`: all 1,000 shards in steps of 5 s, each with its own
number of devices, as a fluid of readings. A shard reads as fast as its lease, Kinesis, its share of
the task's processor and its share of the tables' units let it. A reading costs the units that the
real processor was measured to write for it: in the steady state (``infra/measured.json``) and when
it catches up (measured here). The two real shards are compared with the model of the same two.

**Assumed**: the fleet is one crowd (each offline device tries again after 10 s on average, the
mean of ``devices/mqtt``'s full jitter up to 20 s); a new task works after 75 s; a shard whose lease
moves stands still for 20 s, two KCL failover times. CPU costs are those of
``benchmarks/results.json``, of the machine named there. AWS's own failures, and the latencies of
all but the two real shards, are left out.
"""
