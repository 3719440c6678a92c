"""What deploying, updating and destroying asks of AWS, template by template.

Two callers work with these rights: ``penstock`` itself, and CloudFormation for each resource of a
template. What CloudFormation calls for a resource type is in that type's schema (``handlers``,
https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html); a test
compares both with what is granted here.

In resources and conditions, ``{stack}``, ``{rule}`` (the stack's name with underscores),
``{region}``, ``{account}`` and ``{partition}`` are filled in. A resource without ``arn:`` is of the
action's service in this account and Region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple


class Grant(NamedTuple):
    """Actions of one service, separated by spaces, on resources."""

    sid: str
    service: str
    actions: str
    resources: Sequence[str] = ("*",)
    condition: Mapping[str, Any] | None = None


_TABLES: Final = tuple(
    f"table/{{stack}}-{name}"
    for name in (
        "windows", "devices", "status", "claims", "worker", "worker-CoordinatorState",
        "worker-WorkerMetricStats",
    )
)  # fmt: skip
_ROLES: Final = tuple(
    f"arn:{{partition}}:iam::{{account}}:role/{{stack}}-{kind}-{{region}}"
    for kind in (
        "rule", "provisioning", "provisioning-hook", "worker", "dashboard", "reader", "operator",
        "redrive", "simulator",
    )
)  # fmt: skip
_BUCKET: Final = "arn:{partition}:s3:::{stack}-archive-{account}-{region}"
_ROLE_ACTIONS: Final = (
    "CreateRole DeleteRole DeleteRolePolicy GetRole GetRolePolicy ListAttachedRolePolicies "
    "ListRolePolicies PutRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole "
    "UpdateRoleDescription"
)
_LOG_GROUP_ACTIONS: Final = (
    "AssociateKmsKey CreateLogGroup DeleteLogGroup DeleteRetentionPolicy DisassociateKmsKey "
    "GetDataProtectionPolicy ListTagsForResource PutRetentionPolicy TagResource UntagResource"
)
_STACK_ACTIONS: Final = (
    "ContinueUpdateRollback CreateChangeSet DeleteChangeSet DeleteStack DescribeChangeSet "
    "DescribeEvents DescribeStackEvents DescribeStacks ExecuteChangeSet"
)
_SCALING: Final = (
    "DeleteScalingPolicy DeregisterScalableTarget ListTagsForResource PutScalingPolicy "
    "RegisterScalableTarget TagResource UntagResource"
)
_SCALING_READS: Final = "DescribeScalableTargets DescribeScalingPolicies DescribeScheduledActions"
_ALARM_ACTIONS: Final = (
    "DeleteAlarms DescribeAlarms ListTagsForResource PutMetricAlarm TagResource UntagResource"
)
_TABLE_ACTIONS: Final = (
    "CreateTable DeleteTable DescribeContinuousBackups DescribeContributorInsights "
    "DescribeKinesisStreamingDestination DescribeTable DescribeTimeToLive GetResourcePolicy "
    "ListTagsOfResource TagResource UntagResource UpdateContinuousBackups UpdateTable "
    "UpdateTimeToLive"
)
_TOPIC_ACTIONS: Final = (
    "CreateTopic DeleteTopic GetDataProtectionPolicy GetTopicAttributes ListSubscriptionsByTopic "
    "ListTagsForResource SetTopicAttributes Subscribe TagResource UntagResource"
)
_BUS_ACTIONS: Final = (
    "CreateEventBus DeleteEventBus DescribeEventBus ListTagsForResource TagResource UntagResource "
    "UpdateEventBus"
)
_EVENT_RULE_ACTIONS: Final = (
    "DeleteRule DescribeRule ListTagsForResource ListTargetsByRule PutRule PutTargets "
    "RemoveTargets TagResource UntagResource"
)
_BUCKET_ACTIONS: Final = (
    "CreateBucket DeleteBucket DeleteBucketPolicy GetAccelerateConfiguration "
    "GetAnalyticsConfiguration GetBucketAbac GetBucketCORS GetBucketLogging "
    "GetBucketMetadataTableConfiguration GetBucketNotification "
    "GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy "
    "GetBucketPublicAccessBlock GetBucketTagging GetBucketVersioning GetBucketWebsite "
    "GetEncryptionConfiguration GetIntelligentTieringConfiguration "
    "GetInventoryConfiguration GetLifecycleConfiguration GetMetricsConfiguration "
    "GetReplicationConfiguration ListBucket ListBucketVersions ListTagsForResource "
    "PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock PutBucketTagging "
    "PutBucketVersioning PutEncryptionConfiguration PutLifecycleConfiguration TagResource "
    "UntagResource"
)
_BY_CLOUDFORMATION: Final = {
    "ForAnyValue:StringEquals": {"aws:CalledVia": "cloudformation.amazonaws.com"}
}
"""Where AWS gives a resource its name: only in calls that CloudFormation makes for the caller, who
may use it on this deployment's stacks alone ("aws:CalledVia",
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html)."""


def _passed_to(*services: str) -> Mapping[str, Any]:
    names = [f"{service}.amazonaws.com" for service in services]
    return {"StringEquals": {"iam:PassedToService": names}}


def _linked(sid: str, service: str) -> Grant:
    """The service-linked role that AWS makes with the first resource of its kind."""
    name = {"StringEquals": {"iam:AWSServiceName": service}}
    role = "arn:{partition}:iam::{account}:role/aws-service-role/" + service + "/*"
    return Grant(sid, "iam", "CreateServiceLinkedRole", (role,), name)


PIPELINE: Final = (
    Grant("Stack", "cloudformation", f"{_STACK_ACTIONS} UpdateTerminationProtection",
          ("stack/{stack}/*",)),
    Grant("LookForOtherParts", "cloudformation", "DescribeStacks",
          ("stack/{stack}-alerts/*", "stack/{stack}-service/*", "stack/{stack}-lake/*",
           "stack/{stack}-operations/*", "stack/{stack}-api/*")),
    Grant("ReadATemplate", "cloudformation", "GetTemplateSummary"),
    Grant("Stream", "kinesis",
          "AddTagsToStream CreateStream DecreaseStreamRetentionPeriod DeleteStream "
          "DescribeStreamSummary GetRecords GetShardIterator IncreaseStreamRetentionPeriod "
          "ListShards ListStreamConsumers ListTagsForResource ListTagsForStream "
          "RemoveTagsFromStream StartStreamEncryption TagResource UntagResource",
          ("stream/{stack}-telemetry",)),
    Grant("Consumers", "kinesis", "DeregisterStreamConsumer",
          ("stream/{stack}-telemetry/consumer/*",)),
    Grant("StreamSize", "kinesis", "UpdateShardCount UpdateStreamMode", ("*",),
          _BY_CLOUDFORMATION),
    Grant("Tables", "dynamodb", _TABLE_ACTIONS, _TABLES),
    Grant("LeasesAndWorkers", "dynamodb", "Scan",
          ("table/{stack}-worker", "table/{stack}-status")),
    Grant("Archive", "s3", _BUCKET_ACTIONS,
          (_BUCKET,)),
    Grant("ArchivedObjects", "s3", "DeleteObject DeleteObjectVersion", (_BUCKET + "/*",)),
    # Whoever ran `penstock lake` has made it; its tables are no data.
    Grant("CatalogOfTheArchive", "glue", "DeleteDatabase",
          ("catalog", "database/{rule}_lake", "table/{rule}_lake/*",
           "userDefinedFunction/{rule}_lake/*")),
    Grant("ErrorQueue", "sqs",
          "CreateQueue DeleteQueue GetQueueAttributes GetQueueUrl ListQueueTags SetQueueAttributes "
          "TagQueue UntagQueue",
          ("{stack}-rule-errors",)),
    Grant("Rule", "iot",
          "CreateTopicRule DeleteTopicRule GetTopicRule ListTagsForResource ReplaceTopicRule "
          "TagResource UntagResource",
          ("rule/{rule}_telemetry",)),
    Grant("DevicePolicies", "iot",
          "CreatePolicy CreatePolicyVersion DeletePolicy DeletePolicyVersion GetPolicy "
          "ListPolicyVersions ListTagsForResource ListTargetsForPolicy SetDefaultPolicyVersion "
          "TagResource UntagResource",
          ("policy/{stack}-device", "policy/{stack}-claim")),
    Grant("DeviceType", "iot",
          "CreateThingType DeleteThingType DeprecateThingType DescribeThingType "
          "ListTagsForResource TagResource UntagResource UpdateThingType",
          ("thingtype/{stack}-device",)),
    Grant("Provisioning", "iot",
          "CreateProvisioningTemplate CreateProvisioningTemplateVersion DeleteProvisioningTemplate "
          "DeleteProvisioningTemplateVersion DescribeProvisioningTemplate "
          "ListProvisioningTemplateVersions ListTagsForResource TagResource UntagResource "
          "UpdateProvisioningTemplate",
          ("provisioningtemplate/{stack}-device",)),
    # A device's name is its owner's choice: the commands check that a thing is of this stack.
    Grant("DestroyThings", "iot", "DeleteThing DeleteThingShadow", ("thing/*",)),
    Grant("DestroyCertificates", "iot",
          "DeleteCertificate DescribeCertificate DetachPolicy UpdateCertificate",
          ("cert/*",)),
    Grant("DestroyDevices", "iot",
          "DetachThingPrincipal ListAttachedPolicies ListCertificates ListPrincipalThings "
          "ListThingPrincipals ListThings"),
    Grant("Hook", "lambda",
          "AddPermission CreateFunction DeleteFunction DeleteFunctionConcurrency GetFunction "
          "GetFunctionCodeSigningConfig GetFunctionRecursionConfig GetFunctionScalingConfig "
          "GetPolicy GetRuntimeManagementConfig PutFunctionConcurrency RemovePermission "
          "TagResource UntagResource UpdateFunctionCode UpdateFunctionConfiguration",
          ("function:{stack}-provisioning-hook",)),
    Grant("HookLog", "logs", _LOG_GROUP_ACTIONS,
          ("log-group:/aws/lambda/{stack}-provisioning-hook",
           "log-group:/aws/lambda/{stack}-provisioning-hook:*")),
    Grant("Logs", "logs", "DescribeIndexPolicies DescribeLogGroups DescribeResourcePolicies"),
    Grant("Roles", "iam", _ROLE_ACTIONS, _ROLES),
    Grant("PassRoles", "iam", "PassRole", _ROLES[:5], _passed_to("iot", "lambda", "ec2")),
    Grant("InstanceProfiles", "iam",
          "AddRoleToInstanceProfile CreateInstanceProfile DeleteInstanceProfile GetInstanceProfile "
          "RemoveRoleFromInstanceProfile",
          ("arn:{partition}:iam::{account}:instance-profile/{stack}-WorkerInstanceProfile-*",
           "arn:{partition}:iam::{account}:instance-profile/{stack}-DashboardInstanceProfile-*")),
    Grant("ScaleWrites", "application-autoscaling", _SCALING, ("scalable-target/*",),
          _BY_CLOUDFORMATION),
    Grant("ScalingsThereAre", "application-autoscaling", _SCALING_READS),
    Grant("AlarmsOfScaling", "cloudwatch", "DeleteAlarms DescribeAlarms PutMetricAlarm",
          ("alarm:TargetTracking-table/{stack}-windows-*",)),
    _linked("LinkScaling", "dynamodb.application-autoscaling.amazonaws.com"),
)  # fmt: skip

SERVICE: Final = (
    Grant("ServiceStack", "cloudformation", _STACK_ACTIONS, ("stack/{stack}-service/*",)),
    Grant("Cluster", "ecs",
          "CreateCluster DeleteCluster DescribeClusters ListTagsForResource "
          "PutClusterCapacityProviders TagResource UntagResource UpdateCluster "
          "UpdateClusterSettings",
          ("cluster/{stack}",)),
    Grant("Workers", "ecs",
          "CreateService DeleteService DescribeServices ListServiceDeployments "
          "ListTagsForResource TagResource UntagResource UpdateService",
          ("service/{stack}/{stack}-worker",)),
    Grant("Deployments", "ecs", "DescribeServiceDeployments StopServiceDeployment",
          ("service/{stack}/{stack}-worker", "service-deployment/{stack}/{stack}-worker/*")),
    Grant("Tasks", "ecs", "ListTagsForResource RegisterTaskDefinition TagResource UntagResource",
          ("task-definition/{stack}-worker:*",)),
    Grant("TaskDefinitions", "ecs", "DeregisterTaskDefinition DescribeTaskDefinition"),
    Grant("WorkersLog", "logs", _LOG_GROUP_ACTIONS,
          ("log-group:/penstock/{stack}/worker", "log-group:/penstock/{stack}/worker:*")),
    Grant("ExecutionRole", "iam", _ROLE_ACTIONS,
          ("arn:{partition}:iam::{account}:role/{stack}-service-ExecutionRole-*",)),
    Grant("PassTaskRoles", "iam", "PassRole",
          ("arn:{partition}:iam::{account}:role/{stack}-service-ExecutionRole-*",
           "arn:{partition}:iam::{account}:role/{stack}-worker-{region}"),
          _passed_to("ecs-tasks")),
    Grant("AlarmsOfTasks", "cloudwatch", _ALARM_ACTIONS, ("alarm:{stack}-scale-*",)),
    _linked("LinkEcs", "ecs.amazonaws.com"),
    _linked("LinkScalingOfTasks", "ecs.application-autoscaling.amazonaws.com"),
    Grant("Network", "ec2",
          "AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress "
          "AuthorizeSecurityGroupIngress CreateInternetGateway CreateRoute CreateRouteTable "
          "CreateSecurityGroup CreateSubnet CreateTags CreateVpc CreateVpcEndpoint "
          "DeleteInternetGateway DeleteRoute DeleteRouteTable DeleteSecurityGroup DeleteSubnet "
          "DeleteTags DeleteVpc DeleteVpcEndpoints DescribeVpcAttribute DetachInternetGateway "
          "DisassociateRouteTable ModifySubnetAttribute ModifyVpcAttribute ModifyVpcEndpoint "
          "ReplaceRoute ReplaceRouteTableAssociation RevokeSecurityGroupEgress "
          "RevokeSecurityGroupIngress UpdateSecurityGroupRuleDescriptionsEgress "
          "UpdateSecurityGroupRuleDescriptionsIngress",
          ("*",), _BY_CLOUDFORMATION),
    Grant("NetworksThereAre", "ec2",
          "DescribeAccountAttributes DescribeAvailabilityZones DescribeInstances "
          "DescribeInternetGateways DescribeNetworkAcls DescribeNetworkInterfaces "
          "DescribeRouteTables DescribeSecurityGroups DescribeSubnets "
          "DescribeVpcEncryptionControls DescribeVpcEndpoints DescribeVpcs DescribeVpnGateways"),
    Grant("PrivateZone", "route53",
          "AssociateVPCWithHostedZone ChangeResourceRecordSets ChangeTagsForResource "
          "CreateHostedZone DeleteHostedZone DisassociateVPCFromHostedZone GetChange "
          "GetHostedZone ListHostedZones ListQueryLoggingConfigs ListResourceRecordSets "
          "ListTagsForResource UpdateHostedZoneComment",
          ("*",), _BY_CLOUDFORMATION),
)  # fmt: skip

ALERTS: Final = (
    Grant("AlertsStack", "cloudformation", _STACK_ACTIONS, ("stack/{stack}-alerts/*",)),
    Grant("AlertsTable", "dynamodb", _TABLE_ACTIONS, ("table/{stack}-alerts",)),
    Grant("AlertsTopic", "sns", _TOPIC_ACTIONS, ("{stack}-alerts",)),
    Grant("AlertsSubscriptions", "sns",
          "GetSubscriptionAttributes SetSubscriptionAttributes Unsubscribe",
          ("*",), _BY_CLOUDFORMATION),
    Grant("AlertsBus", "events", _BUS_ACTIONS, ("event-bus/{stack}-alerts",)),
    Grant("AlertNotices", "events", _EVENT_RULE_ACTIONS,
          ("rule/{stack}-alerts/{stack}-alert-notices",)),
    Grant("AlertsSchemas", "schemas",
          "CreateRegistry DeleteRegistry DescribeRegistry ListTagsForResource TagResource "
          "UntagResource UpdateRegistry",
          ("registry/{stack}-alerts",)),
    Grant("AlertsSchema", "schemas",
          "CreateSchema DeleteSchema DeleteSchemaVersion DescribeSchema UpdateSchema",
          ("schema/{stack}-alerts/*",)),
)  # fmt: skip

_DATABASE: Final = ("catalog", "database/{rule}_lake")
_LAKE_ROLES: Final = tuple(
    f"arn:{{partition}}:iam::{{account}}:role/{{stack}}-{name}" for name in
    ("lake-{region}", "replay-{region}", "lake-clean-{region}", "lake-ExecutionRole-*",
     "lake-ScheduleRole-*")
)  # fmt: skip
LAKE: Final = (
    Grant("LakeStack", "cloudformation", _STACK_ACTIONS, ("stack/{stack}-lake/*",)),
    Grant("Database", "glue", "CreateDatabase GetDatabase UpdateDatabase", _DATABASE),
    Grant("ArchiveTable", "glue", "CreateTable DeleteTable GetTable UpdateTable",
          (*_DATABASE, "table/{rule}_lake/archive")),
    Grant("ConnectionOfADatabase", "glue", "GetConnection", ("catalog", "connection/*"),
          _BY_CLOUDFORMATION),
    Grant("GovernedByLakeFormation", "lakeformation",
          "DescribeLakeFormationIdentityCenterConfiguration DescribeResource GetDataAccess "
          "ListResources"),
    Grant("Workgroup", "athena",
          "CreateWorkGroup DeleteWorkGroup GetWorkGroup ListTagsForResource TagResource "
          "UntagResource UpdateWorkGroup",
          ("workgroup/{stack}-lake",)),
    Grant("PlaceOfResults", "s3", "GetBucketLocation", (_BUCKET,)),
    Grant("Schedules", "scheduler", "CreateSchedule DeleteSchedule GetSchedule UpdateSchedule",
          ("schedule/{stack}-lake/*",)),
    Grant("ScheduleGroup", "scheduler",
          "CreateScheduleGroup DeleteScheduleGroup GetScheduleGroup ListTagsForResource "
          "TagResource UntagResource",
          ("schedule-group/{stack}-lake",)),
    Grant("LakeTasks", "ecs",
          "ListTagsForResource RegisterTaskDefinition TagResource UntagResource",
          ("task-definition/{stack}-lake-*:*",)),
    Grant("LakeTaskDefinitions", "ecs", "DeregisterTaskDefinition DescribeTaskDefinition"),
    Grant("RunningLakeTasks", "ecs", "DescribeTasks StopTask", ("task/{stack}/*",)),
    Grant("FindLakeTasks", "ecs", "ListTasks", ("*",),
          {"ArnEquals": {"ecs:cluster": "arn:{partition}:ecs:{region}:{account}:cluster/{stack}"}}),
    Grant("LakeLog", "logs", _LOG_GROUP_ACTIONS,
          ("log-group:/penstock/{stack}/lake", "log-group:/penstock/{stack}/lake:*")),
    Grant("LakeRoles", "iam", _ROLE_ACTIONS, _LAKE_ROLES),
    Grant("PassLakeRoles", "iam", "PassRole", (_LAKE_ROLES[0], *_LAKE_ROLES[2:]),
          _passed_to("ecs-tasks", "scheduler")),
)  # fmt: skip

OPERATIONS: Final = (
    Grant("OperationsStack", "cloudformation", _STACK_ACTIONS, ("stack/{stack}-operations/*",)),
    Grant("Topic", "sns", _TOPIC_ACTIONS, ("{stack}-alarms",)),
    Grant("Subscriptions", "sns", "GetSubscriptionAttributes SetSubscriptionAttributes Unsubscribe",
          ("*",), _BY_CLOUDFORMATION),
    Grant("EventBus", "events", _BUS_ACTIONS, ("event-bus/{stack}-operations",)),
    Grant("AlarmEvents", "events", _EVENT_RULE_ACTIONS, ("rule/{stack}-alarm-events",)),
    Grant("OperationsRoles", "iam", f"{_ROLE_ACTIONS} AttachRolePolicy DetachRolePolicy",
          ("arn:{partition}:iam::{account}:role/{stack}-operations-*",)),
    Grant("PassOperationsRoles", "iam", "PassRole",
          ("arn:{partition}:iam::{account}:role/{stack}-operations-*",),
          _passed_to("events", "iot")),
    Grant("Alarms", "cloudwatch", _ALARM_ACTIONS, ("alarm:{stack}-*",)),
    Grant("Dashboard", "cloudwatch",
          "DeleteDashboards GetDashboard ListTagsForResource PutDashboard TagResource "
          "UntagResource",
          ("arn:{partition}:cloudwatch::{account}:dashboard/{stack}",)),
    Grant("DuplicateClients", "iot",
          "CreateTopicRule DeleteTopicRule GetTopicRule ListTagsForResource ReplaceTopicRule "
          "TagResource UntagResource",
          ("rule/{rule}_duplicate_clients",)),
    Grant("Budget", "budgets",
          "ListTagsForResource ModifyBudget TagResource UntagResource ViewBudget",
          ("arn:{partition}:budgets::{account}:budget/{stack}-month",)),
    Grant("BudgetsView", "billing", "GetBillingViewData",
          ("arn:{partition}:billing::{account}:billingview/*",)),
    Grant("IotOfTheAccount", "iot",
          "DeleteAccountAuditConfiguration DescribeAccountAuditConfiguration GetV2LoggingOptions "
          "SetV2LoggingOptions UpdateAccountAuditConfiguration",
          ("*",), _BY_CLOUDFORMATION),
    Grant("Audit", "iot",
          "CreateScheduledAudit DeleteScheduledAudit DescribeScheduledAudit ListTagsForResource "
          "TagResource UntagResource UpdateScheduledAudit",
          ("scheduledaudit/{stack}-certificates",)),
    Grant("IotLog", "logs", _LOG_GROUP_ACTIONS,
          ("log-group:AWSIotLogsV2", "log-group:AWSIotLogsV2:*")),
)  # fmt: skip

API: Final = (
    Grant("ApiStack", "cloudformation", _STACK_ACTIONS, ("stack/{stack}-api/*",)),
    Grant("Package", "s3", "GetObject PutObject", (_BUCKET + "/api/*",)),
    Grant("ApiFunction", "lambda",
          "AddPermission CreateFunction DeleteFunction GetFunction GetFunctionCodeSigningConfig "
          "GetFunctionRecursionConfig GetFunctionScalingConfig GetPolicy "
          "GetRuntimeManagementConfig RemovePermission TagResource UntagResource "
          "UpdateFunctionCode UpdateFunctionConfiguration",
          ("function:{stack}-api",)),
    Grant("ApiRole", "iam", _ROLE_ACTIONS,
          ("arn:{partition}:iam::{account}:role/{stack}-api-Role-*",)),
    Grant("PassApiRole", "iam", "PassRole",
          ("arn:{partition}:iam::{account}:role/{stack}-api-Role-*",), _passed_to("lambda")),
    Grant("ApiLogs", "logs", _LOG_GROUP_ACTIONS,
          tuple(f"log-group:{name}{rest}"
                for name in ("/aws/lambda/{stack}-api", "/penstock/{stack}/api")
                for rest in ("", ":*"))),
    # HTTP APIs have no names: AWS gives their ids.
    Grant("Gateway", "apigateway", "DELETE GET PATCH POST PUT",
          ("arn:{partition}:apigateway:{region}::/*",), _BY_CLOUDFORMATION),
    Grant("UserPool", "cognito-idp",
          "AddCustomAttributes CreateGroup CreateResourceServer CreateUserPool "
          "CreateUserPoolClient CreateUserPoolDomain DeleteGroup DeleteResourceServer "
          "DeleteUserPool DeleteUserPoolClient DeleteUserPoolDomain DescribeResourceServer "
          "DescribeUserPool DescribeUserPoolClient DescribeUserPoolDomain GetGroup "
          "GetUserPoolMfaConfig ListTagsForResource ListUserPoolClientSecrets "
          "SetUserPoolMfaConfig TagResource UntagResource UpdateGroup UpdateResourceServer "
          "UpdateUserPool UpdateUserPoolClient UpdateUserPoolDomain",
          ("*",), _BY_CLOUDFORMATION),
    Grant("PageBucket", "s3", _BUCKET_ACTIONS,
          ("arn:{partition}:s3:::{stack}-page-{account}-{region}",)),
    Grant("PageFiles", "s3", "DeleteObject DeleteObjectVersion GetObject PutObject",
          ("arn:{partition}:s3:::{stack}-page-{account}-{region}/*",)),
    # CloudFront gives its ids too.
    Grant("PageOnCloudFront", "cloudfront",
          "CreateDistribution CreateOriginAccessControl CreateResponseHeadersPolicy "
          "DeleteDistribution DeleteOriginAccessControl DeleteResponseHeadersPolicy "
          "GetDistribution GetDistributionConfig GetOriginAccessControl "
          "GetResponseHeadersPolicy ListTagsForResource TagResource UntagResource "
          "UpdateDistribution UpdateOriginAccessControl UpdateResponseHeadersPolicy",
          ("*",), _BY_CLOUDFORMATION),
    Grant("RecordsOfThePage", "route53",
          "ChangeResourceRecordSets GetChange GetHostedZone ListHostedZones "
          "ListResourceRecordSets",
          ("*",), _BY_CLOUDFORMATION),
)  # fmt: skip

KEY: Final = Grant(
    "Key", "kms", "CreateGrant Decrypt DescribeKey Encrypt GenerateDataKey", ("{key}",),
    {"StringLike": {"kms:ViaService": "*.{region}.amazonaws.com"}},
)  # fmt: skip
"""On a key of the customer's: services take grants on it in the caller's name ("Encryption at
rest" in the guides of DynamoDB, Kinesis and Lambda)."""
