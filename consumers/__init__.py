"""What runs on a worker: the KCL daemon, and one process a shard that folds and archives.

A shard's process imports ``consumers.shard.child`` and what that needs, and nothing else of ours:
its imports cost memory for each shard.
"""
