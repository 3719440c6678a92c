"""What runs on a worker: KCL launch and protocol, decode, fold, hot store, archive, checkpoint.

A per-shard child imports ``consumers.shard.child`` and what that needs, and nothing else of ours:
every import costs once a shard.
"""
