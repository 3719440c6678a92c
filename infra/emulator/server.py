"""The embedded AWS's process: MiniStack with what the pipeline needs and it lacks.

Extensions are of two kinds: what AWS has, and what AWS refuses or takes time for (the functions
that take the :class:`~infra.emulator.world.World`). Each is for the exact version that
``pyproject.toml`` pins, and held by a test (``tests/integration/test_emulator*.py`` and
``test_provisioning.py``). A private name that is missing ends the process with an
``AttributeError`` before it serves anything.

Run as ``python -m infra.emulator.server``; see ``infra.emulator.process`` for the environment
it expects.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

from infra.emulator.cloudformation import (
    add_and_remove_by_condition,
    fail_as_resource_handlers_do,
    import_buckets,
    know_what_replaces,
)
from infra.emulator.cloudwatch.alarms import evaluate_alarms_by_period
from infra.emulator.cloudwatch.logs import extract_metrics_of_log_lines
from infra.emulator.dynamodb.strict import be_strict as be_strict_dynamodb
from infra.emulator.dynamodb.template_indexes import describe_indexes_of_templates
from infra.emulator.gateway import serve_control, shape_calls
from infra.emulator.iam.authorization import (
    authorize_partiql_by_statement,
    authorize_sqs_batches_by_message,
    count_loopback_as_secure_transport,
    keep_sessions,
    know_ecs_cluster,
    know_leading_keys,
    know_metric_namespace,
    know_thing_arn,
    name_the_resource_of_calls,
)
from infra.emulator.iam.catalog import name_catalog_resources
from infra.emulator.iam.decisions import DECISIONS_VARIABLE, record_decisions
from infra.emulator.iot.broker import limit_connections
from infra.emulator.iot.certificates import (
    end_connections_of_revoked_certificates,
    sign_requests_over_mqtt,
)
from infra.emulator.iot.registry import refuse_as_the_registry_does
from infra.emulator.iot.rule_roles import authorize_rule_actions
from infra.emulator.iot.rules import add_kinesis_rule_action, take_any_payload
from infra.emulator.iot.shadows import refuse_as_shadows_do
from infra.emulator.keys import ask_for_keys
from infra.emulator.kinesis.fan_out import limit_subscriptions
from infra.emulator.kinesis.limits import be_strict as be_strict_kinesis
from infra.emulator.kinesis.resharding import keep_closed_shards
from infra.emulator.profile import PROFILE_VARIABLE, Profile
from infra.emulator.s3 import hide_missing_keys, store_before_answering
from infra.emulator.shutdown import end_every_connection
from infra.emulator.web.cloudfront import serve_apis_as_origins
from infra.emulator.web.cognito import revoke_at_the_domain
from infra.emulator.world import World

LOOPBACK: Final = "127.0.0.1"


def listen_on_loopback_only() -> None:
    """Bind every listener of this process to loopback, the MQTT one (fixed to 0.0.0.0) too."""
    original = asyncio.base_events.BaseEventLoop.create_server

    async def create_server(
        self: Any, factory: Any, host: Any = None, *args: Any, **kw: Any
    ) -> Any:
        if kw.get("sock") is None:
            host = LOOPBACK
        return await original(self, factory, host, *args, **kw)

    asyncio.base_events.BaseEventLoop.create_server = create_server  # type: ignore[method-assign,assignment]


def keep_connections_open() -> None:
    """Close no connection because of how many requests it has served. Hypercorn closes it after
    1,000; the KCL's ``GetRecords`` then waits about 10 s for an answer that does not come."""
    from hypercorn.config import Config

    _ = Config.keep_alive_max_requests
    Config.keep_alive_max_requests = 2**62


def main() -> None:
    """Extend, then serve until SIGTERM."""
    world = World(Profile.from_json(os.environ.get(PROFILE_VARIABLE, "{}")))
    extensions: list[Callable[[], None]] = [
        listen_on_loopback_only,
        keep_connections_open,
        end_every_connection,
        take_any_payload,
        name_the_resource_of_calls,
        authorize_partiql_by_statement,
        authorize_sqs_batches_by_message,
        know_ecs_cluster,
        know_leading_keys,
        know_metric_namespace,
        know_thing_arn,
        count_loopback_as_secure_transport,
        keep_sessions,
        keep_closed_shards,
        describe_indexes_of_templates,
        sign_requests_over_mqtt,
        end_connections_of_revoked_certificates,
        refuse_as_shadows_do,
        store_before_answering,
        hide_missing_keys,
        fail_as_resource_handlers_do,
        import_buckets,
        add_and_remove_by_condition,
        know_what_replaces,
        evaluate_alarms_by_period,
        extract_metrics_of_log_lines,
        serve_apis_as_origins,
        revoke_at_the_domain,
    ]
    for extend in extensions:
        extend()
    if os.environ.get(DECISIONS_VARIABLE):
        record_decisions(world.decisions)
    name_catalog_resources()  # after the recorder, which sees each level then
    strict: list[Callable[[World], None]] = [
        ask_for_keys,
        be_strict_dynamodb,
        be_strict_kinesis,
        limit_subscriptions,
        add_kinesis_rule_action,
        authorize_rule_actions,
        limit_connections,
        refuse_as_the_registry_does,
        shape_calls,
        serve_control,
    ]
    for restrict in strict:
        restrict(world)
    from ministack.app import main as serve

    assert os.environ.get("BIND_HOST") == LOOPBACK, "start it with infra.emulator.process"
    serve()


if __name__ == "__main__":
    main()
