"""Resharding in the embedded AWS: shards that were split or merged stay readable to their end.

MiniStack removes them with their records, as AWS never does. Here they move to
``closed_shards`` of their stream, and the calls of a polling consumer see them there: listed with
their last sequence number, read to the end, and then answered with their children. A fan-out
subscription still ends at the split itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

CLOSED: Final = "closed_shards"
_READS: Final = ("_list_shards", "_describe_stream", "_get_shard_iterator")

_Call = Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]


def keep_closed_shards() -> None:
    """Extend MiniStack's Kinesis; see the module."""
    from ministack.services import kinesis

    for name in ("_split_shard", "_merge_shards"):
        setattr(kinesis, name, _closing(kinesis, getattr(kinesis, name)))
    for name in _READS:
        setattr(kinesis, name, _seeing_all(kinesis, getattr(kinesis, name), _named))
    kinesis._get_records = _ending(kinesis, _seeing_all(kinesis, kinesis._get_records, _iterated))
    kinesis._shard_out = _with_last_number(kinesis._shard_out)


def _closing(kinesis: Any, original: _Call) -> _Call:
    """Keep what the call removes."""

    def reshard(data: dict[str, Any]) -> Any:
        stream = _named(kinesis, data)
        before = dict(stream["shards"]) if stream else {}
        answer = original(data)
        for name in before.keys() - (stream["shards"].keys() if stream else set()):
            before[name]["ending_sequence_number"] = kinesis._next_sequence_number()
            stream.setdefault(CLOSED, {})[name] = before[name]
        return answer

    return reshard


def _seeing_all(kinesis: Any, original: _Call, find: Callable[[Any, dict[str, Any]], Any]) -> _Call:
    """Run a call with the closed shards among the others. Calls run one at a time, whole."""

    def call(data: dict[str, Any]) -> Any:
        stream = find(kinesis, data)
        closed = stream.get(CLOSED, {}) if stream else {}
        if not closed:
            return original(data)
        stream["shards"].update(closed)
        try:
            return original(data)
        finally:
            for name in closed:
                del stream["shards"][name]

    return call


def _ending(kinesis: Any, original: _Call) -> _Call:
    """At the end of a closed shard there is no next iterator, but there are children."""

    def get_records(data: dict[str, Any]) -> Any:
        status, headers, body = original(data)
        state = kinesis._shard_iterators.get(data.get("ShardIterator"))
        stream = _iterated(kinesis, data)
        shard = stream.get(CLOSED, {}).get(state["shard_id"]) if stream else None
        if status != 200 or shard is None:
            return status, headers, body
        answer = json.loads(body)
        after = kinesis._shard_iterators[answer["NextShardIterator"]]
        if after["position"] < len(shard["records"]):
            return status, headers, body
        del answer["NextShardIterator"]
        answer["ChildShards"] = _children(stream, state["shard_id"])
        return kinesis.json_response(answer)

    return get_records


def _children(stream: dict[str, Any], parent: str) -> list[dict[str, Any]]:
    found = []
    for name, shard in sorted({**stream["shards"], **stream[CLOSED]}.items()):
        parents = [shard.get("parent_shard_id"), shard.get("adjacent_parent_shard_id")]
        if parent in parents:
            found.append(
                {
                    "ShardId": name,
                    "ParentShards": [one for one in parents if one],
                    "HashKeyRange": {
                        "StartingHashKey": shard["starting_hash_key"],
                        "EndingHashKey": shard["ending_hash_key"],
                    },
                }
            )
    return found


def _with_last_number(original: Callable[..., Any]) -> Callable[..., Any]:
    def shard_out(name: str, shard: dict[str, Any]) -> Any:
        out = original(name, shard)
        if "ending_sequence_number" in shard:
            out["SequenceNumberRange"]["EndingSequenceNumber"] = shard["ending_sequence_number"]
        return out

    return shard_out


def _named(kinesis: Any, data: dict[str, Any]) -> Any:
    """The stream that a request names."""
    return kinesis._resolve_stream(data)[1]


def _iterated(kinesis: Any, data: dict[str, Any]) -> Any:
    """The stream that a request's iterator is of."""
    state = kinesis._shard_iterators.get(data.get("ShardIterator"))
    return kinesis._streams.get(state["stream"]) if state else None
