"""Settings: from the environment, ``penstock.toml`` and defaults, in this order.

An environment variable is ``PENSTOCK_`` and the setting's name in capitals, for example
``PENSTOCK_STACK=plant-7``. ``penstock.toml`` holds the same names in lower case. Resolved
once, by the command line; a worker's children get their part as plain values.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ingest.freshness import Freshness, flush_policy
from ingest.tiers import Tier
from ingest.topic import STACK, rule_name

SETTINGS_FILE: Final = "penstock.toml"
TOPIC_PORT: Final = 8883
_STANDARD: Final = flush_policy("standard")

RENAMED: Final = {"segment_records": "segment_readings", "cbor": "kinesis_cbor"}
"""Old name to new name. The old one still works, with a warning; the new one wins over it."""

log: Final = logging.getLogger(__name__)


class SettingsError(Exception):
    """A setting is wrong; the text is a sentence for the user."""


class TraceSettings(BaseModel):
    """Which messages are traced, and where their spans go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of its messages that a device run here has traced."""
    endpoint: str | None = None
    """A collector's address (OTLP over HTTP), for spans of devices and workers run here."""


class Settings(BaseSettings):
    """Where the deployment is and how its worker behaves. Times are in s unless named."""

    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", extra="forbid", frozen=True)

    stack: Annotated[str, Field(pattern=f"^{STACK.pattern}$")] = "penstock"
    """Name of the CloudFormation stack; every resource's name begins with it."""

    region: str = "us-east-1"
    endpoint_url: str | None = None
    """One endpoint for every AWS service, as an embedded AWS has; none means AWS."""

    iot_host: str | None = None
    """The IoT data endpoint; looked up (``DescribeEndpoint``) when it is not given."""
    iot_port: Annotated[int, Field(ge=1, le=65535)] = TOPIC_PORT
    iot_ca: Path | None = None
    """CA certificate of the IoT endpoint; none means the system's trust store."""

    devices_dir: Path = Path(".penstock/devices")
    """Where certificates and keys of devices made here are kept."""

    freshness: Freshness = "standard"
    """Decides ``tiers``, ``latest_flush_s`` and ``segment_age_s`` where they are not given."""
    tiers: tuple[Tier, ...] = _STANDARD.tiers
    latest_flush_s: Annotated[float, Field(gt=0)] = _STANDARD.latest_flush_s
    """The longest that a device's latest state waits before it is written."""
    clock_ahead_s: Annotated[int, Field(gt=0)] = 600
    """A reading whose clock is further ahead of the rule's is archived and not folded."""

    segment_readings: Annotated[int, Field(ge=1, le=1_000_000)] = 50_000
    segment_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    segment_age_s: Annotated[float, Field(gt=0)] = _STANDARD.segment_age_s
    """A segment of the archive closes at this many readings, bytes of payload, or age."""

    acknowledge: bool = False
    """Whether workers tell devices which readings are durable, in the hot store and the archive:
    one message a device and commit. Deploy with it too: the worker's role must allow it."""

    alerts: bool = False
    """Whether alert rules are evaluated. Deploy with it too: it adds the table, bus and topic."""
    alert_webhook: Annotated[
        str, Field(pattern=r"^(https://.+|http://(127\.0\.0\.1|localhost)[:/].*)?$")
    ] = ""
    """An https URL that gets every transition of an alarm, signed with ``alert_webhook_secret``."""
    alert_webhook_secret: str = ""
    """The secret that both ends of the webhook know; better in the environment than in a file."""

    retrieval: Literal["polling", "fanout"] = "polling"
    initial_position: Literal["TRIM_HORIZON", "LATEST"] = "TRIM_HORIZON"
    failover_ms: Annotated[int, Field(ge=1000)] = 10_000
    idle_ms: Annotated[int, Field(ge=100)] = 250
    max_records: Annotated[int, Field(ge=1, le=10_000)] = 2_000
    """Records that one read of a shard asks for; four reads a second, at the default ``idle_ms``,
    are more than a shard can give."""
    max_leases: Annotated[int, Field(ge=1)] | None = None
    """Shards that this worker takes at most; none means as many as its memory carries when all of
    them are behind, and 32 at most."""
    attempt_timeout_s: Annotated[float, Field(ge=0.5, le=30)] | None = None
    """How long the KCL waits for an answer of Kinesis or DynamoDB before it asks again; none means
    the SDK's 10 s and 30 s. It bounds the cost of a connection that ends without an answer and
    without being closed; but it must be longer than a busy service takes."""
    child_timeout_s: Annotated[int, Field(ge=10)] = 300
    """A child that makes no progress for half of this while the daemon waits is replaced."""
    heap_mb: Annotated[int, Field(ge=64)] | None = None
    """The KCL daemon's heap (MiB); none means what ``max_records`` and ``max_leases`` need."""
    kcl_jars: Path | None = None
    """A folder with the jars of a KCL; none, or nothing, means those of the wheel ``kclpy-ext``."""
    shutdown_grace_s: Annotated[int, Field(ge=1)] = 20
    """How long children may take to commit when the worker is stopped, and how long a daemon
    that lost a child waits before it leaves."""
    redrive_s: Annotated[float, Field(ge=0)] = 60
    """How often the worker puts what the rule could not put into the stream; 0 is never."""
    metrics: Literal["none", "emf"] = "none"
    """Whether the worker writes its own metrics to stdout, where CloudWatch Logs finds them."""
    cloudwatch_metrics: Literal["NONE", "SUMMARY", "DETAILED"] = "NONE"
    kinesis_cbor: bool = True
    """Whether the KCL speaks CBOR to Kinesis; the embedded AWS needs it off."""
    lake_catalog: Literal["glue", "sqlite", "rest"] = "glue"
    """The Iceberg catalog in which `penstock lake` keeps the archive's tables."""
    lake_catalog_uri: str | None = None
    """A file for `sqlite` (none means `lake.sqlite` beside ``devices_dir``), a URL for `rest`."""
    units: dict[str, str] = {}
    """What dashboards show behind a metric's values: its name to a unit, as ``{"power": "W"}``."""
    status_host: str = "127.0.0.1"
    """Address that the worker's status, health checks and Prometheus metrics listen on."""
    status_port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """Their port; 0 picks a free one."""
    traces: TraceSettings = TraceSettings()
    """Traces by OpenTelemetry; off by default. See docs/monitoring.md."""
    status_token: str | None = None
    """Bearer token with which ``/status`` shows the beginnings of payloads that were rejected;
    without one it never does."""

    @model_validator(mode="after")
    def _of_freshness(self) -> Settings:
        """What is not given follows from the freshness, and still counts as not given."""
        for name, value in flush_policy(self.freshness)._asdict().items():
            if name not in self.model_fields_set:
                object.__setattr__(self, name, value)
        return self

    @model_validator(mode="after")
    def _signed(self) -> Settings:
        if self.alert_webhook and not self.alert_webhook_secret:
            raise ValueError("alert_webhook needs alert_webhook_secret, which signs each request")
        return self

    @field_validator("kcl_jars", mode="before")
    @classmethod
    def _or_none(cls, folder: object) -> object:
        return folder or None

    @field_validator("tiers")
    @classmethod
    def _distinct(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        if not tiers or len({tier.name for tier in tiers}) != len(tiers):
            raise ValueError("name at least one tier, each of them once")
        return tuple(sorted(tiers, key=lambda tier: tier.size_ms))

    @property
    def stream(self) -> str:
        """The Kinesis stream."""
        return f"{self.stack}-telemetry"

    @property
    def windows_table(self) -> str:
        """The hot table of windows."""
        return f"{self.stack}-windows"

    @property
    def devices_table(self) -> str:
        """The hot table of devices."""
        return f"{self.stack}-devices"

    @property
    def status_table(self) -> str:
        """The table of the workers' reports, which dashboards read."""
        return f"{self.stack}-status"

    @property
    def alerts_table(self) -> str:
        """The table of alert rules and of the alarms' states."""
        return f"{self.stack}-alerts"

    @property
    def alerts_bus(self) -> str:
        """The event bus that gets every transition of an alarm."""
        return f"{self.stack}-alerts"

    @property
    def application(self) -> str:
        """The KCL application; its lease tables' names begin with it."""
        return f"{self.stack}-worker"

    @property
    def claim_policy(self) -> str:
        """The IoT policy of claim certificates."""
        return f"{self.stack}-claim"

    @property
    def claims_table(self) -> str:
        """The table of claims, which the provisioning hook reads."""
        return f"{self.stack}-claims"

    @property
    def provisioning_template(self) -> str:
        """The provisioning template, by which a device with a claim makes itself known."""
        return f"{self.stack}-device"

    @property
    def rule(self) -> str:
        """The topic rule."""
        return rule_name(self.stack)

    @property
    def error_queue(self) -> str:
        """The queue of messages whose rule failed."""
        return f"{self.stack}-rule-errors"

    @property
    def device_policy(self) -> str:
        """The IoT policy of a device's certificate."""
        return f"{self.stack}-device"

    @property
    def hook_log_group(self) -> str:
        """The log group of the provisioning hook."""
        return f"/aws/lambda/{self.stack}-provisioning-hook"

    @property
    def thing_type(self) -> str:
        """The thing type of a device."""
        return f"{self.stack}-device"

    def role_name(self, kind: str) -> str:
        """One of the stack's IAM roles, such as ``worker``: roles are an account's in all Regions,
        so the Region is part of it."""
        return f"{self.stack}-{kind}-{self.region}"

    def bucket(self, account: str) -> str:
        """The archive bucket: bucket names are global, so the account is part of it."""
        return f"{self.stack}-archive-{account}-{self.region}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        return (
            init_settings,
            env_settings,
            _RenamedEnvironment(settings_cls),
            _RenamingToml(settings_cls, toml_file=SETTINGS_FILE),
        )


class _RenamedEnvironment(PydanticBaseSettingsSource):
    """Environment variables that carry the old name of a setting."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {}
        for old, new in RENAMED.items():
            variable = f"PENSTOCK_{old.upper()}"
            if variable in os.environ:
                log.warning("%s is now called PENSTOCK_%s: rename it", variable, new.upper())
                found[new] = os.environ[variable]
        return found


class _RenamingToml(TomlConfigSettingsSource):
    """``penstock.toml``, in which a setting may have its old name."""

    def __call__(self) -> dict[str, Any]:
        values = dict(super().__call__())
        for old in RENAMED.keys() & values.keys():
            new = RENAMED[old]
            log.warning("%s: %s is now called %s: rename it", SETTINGS_FILE, old, new)
            values.setdefault(new, values[old])
            del values[old]
        return values


def load(**overrides: Any) -> Settings:
    """Resolve the settings; ``overrides`` win over the environment and the file.

    :raises SettingsError: naming the setting, its value and what is wrong with it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None
    except ValueError as error:  # the file is not TOML, or a variable is not JSON
        raise SettingsError(f"cannot read the settings: {error}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{SETTINGS_FILE}: there is no setting {name!r}; see docs/settings.md"
    if first["type"] == "missing":
        return f"setting {name} is missing; see docs/settings.md"
    return f"setting {name} = {first['input']!r}: {first['msg']}"
