"""Shards that are split and merged under load."""

from __future__ import annotations

from typing import Any

from tests.chaos.faults import on_own_site
from tests.chaos.faults.processes import working
from tests.chaos.plan import Fault, Rule
from tests.chaos.site import Site


def _open_shards(site: Site) -> list[Any]:
    return [
        shard
        for shard in site.kinesis.list_shards(StreamName=site.settings.stream)["Shards"]
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    ]


def _split(site: Site, shard: Any) -> None:
    low, high = (int(shard["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
    site.kinesis.split_shard(
        StreamName=site.settings.stream,
        ShardToSplit=shard["ShardId"],
        NewStartingHashKey=str((low + high) // 2 + 1),
    )
    _active(site)


def _merge(site: Site) -> list[str]:
    shards = sorted(_open_shards(site), key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]))
    names = [shard["ShardId"] for shard in shards[:2]]
    site.kinesis.merge_shards(
        StreamName=site.settings.stream, ShardToMerge=names[0], AdjacentShardToMerge=names[1]
    )
    _active(site)
    return names


def _active(site: Site) -> None:
    def is_active() -> bool:
        summary = site.kinesis.describe_stream_summary(StreamName=site.settings.stream)
        return bool(summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")

    site.until(is_active, 30, "an active stream")


def _until_ended(site: Site, shards: list[str]) -> None:
    def all_ended() -> bool:
        leases = site.leases()
        return all(leases.get(s, {}).get("checkpoint") == "SHARD_END" for s in shards)

    site.until(all_ended, 90, f"the end of {shards}")


@on_own_site()
def a_shard_is_split_under_load(site: Site) -> None:
    """Its devices' records go on in two others, which wait for its end."""
    with site.load(16):
        working(site)
        shard = _open_shards(site)[0]
        _split(site, shard)
        _until_ended(site, [shard["ShardId"]])


@on_own_site()
def shards_are_merged_and_split_again(site: Site) -> None:
    """Two become one, and that one two."""
    with site.load(24):
        working(site)
        _until_ended(site, _merge(site))
        shard = _open_shards(site)[0]
        _split(site, shard)
        _until_ended(site, [shard["ShardId"]])


@on_own_site(redrive_s=5.0)
def the_rule_cannot_put_for_a_while(site: Site) -> None:
    """What devices send meanwhile is in the queue of rule errors, and a worker takes it from there:
    no message is lost, and nobody redrives it by hand."""
    iot, sqs, rule = site.target.client("iot"), site.target.client("sqs"), site.settings.rule
    url = sqs.get_queue_url(QueueName=site.settings.error_queue)["QueueUrl"]
    payload = iot.get_topic_rule(ruleName=rule)["rule"]
    kept = {k: payload[k] for k in ("sql", "actions", "errorAction", "awsIotSqlVersion")}
    broken = [{"kinesis": {**kept["actions"][0]["kinesis"], "streamName": "nowhere"}}]

    def waiting() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    with site.load(16):
        working(site)
        iot.replace_topic_rule(ruleName=rule, topicRulePayload={**kept, "actions": broken})
        try:
            site.until(lambda: waiting() >= 20, 60, "messages in the queue of rule errors")
        finally:
            iot.replace_topic_rule(ruleName=rule, topicRulePayload=kept)
        site.until(lambda: not waiting(), 60, "an empty queue of rule errors")


@on_own_site()
def checkpoints_fail_at_the_end_of_a_shard(site: Site) -> None:
    """The lease table refuses writes while a shard ends; and a child dies in ``shard_ended``."""
    with site.load(30):
        worker = working(site)
        table = f'"{site.settings.application}"'
        shard = _open_shards(site)[0]
        plan = site.spoil(
            Rule("dynamodb", Fault.THROTTLE, "UpdateItem", table, rate=0.5, end_s=5.0),
            Rule("dynamodb", Fault.ERROR, "UpdateItem", table, end_s=5.0),
        )
        _split(site, shard)
        _until_ended(site, [shard["ShardId"]])
        site.until(lambda: not plan.idle(), 20, "refused checkpoints")
        site.arm("shard_ended", "crash")
        second = _open_shards(site)[0]
        _split(site, second)
        site.until(lambda: site.struck("shard_ended"), 60, "the end of a shard")
        # A checkpoint at a closed shard's last record ends it already: KCL writes SHARD_END then.
        _until_ended(site, [second["ShardId"]])
        site.until(lambda: worker.worker.status.restarts > 0, 60, "a new daemon")
