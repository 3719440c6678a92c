"""What a deployment calls itself, and what CloudFormation never calls for our templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OWN_CALLS: Final = frozenset(
    {
        "cloudformation:ContinueUpdateRollback", "cloudformation:CreateChangeSet",
        "cloudformation:DeleteChangeSet", "cloudformation:DeleteStack",
        "cloudformation:DescribeChangeSet", "cloudformation:DescribeEvents",
        "cloudformation:DescribeStackEvents", "cloudformation:DescribeStacks",
        "cloudformation:ExecuteChangeSet", "cloudformation:GetTemplateSummary",
        "cloudformation:UpdateTerminationProtection", "dynamodb:DeleteTable",
        "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan",
        "dynamodb:UpdateTable", "dynamodb:UpdateTimeToLive", "ecs:DescribeTasks",
        "ecs:ListTasks", "ecs:StopTask", "glue:DeleteDatabase",
        "glue:GetDatabase",
        "iot:DeleteCertificate",
        "iot:DeleteThing", "iot:DeleteThingShadow", "iot:DeleteThingType",
        "iot:DeprecateThingType", "iot:DescribeCertificate", "iot:DescribeThingType",
        "iot:DetachPolicy", "iot:DetachThingPrincipal", "iot:ListAttachedPolicies",
        "iot:ListCertificates", "iot:ListPrincipalThings", "iot:ListTargetsForPolicy",
        "iot:ListThingPrincipals", "iot:ListThings",
        "iot:UpdateCertificate", "kinesis:DeregisterStreamConsumer",
        "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator",
        "kinesis:ListShards", "kinesis:ListStreamConsumers", "logs:DeleteLogGroup",
        "s3:DeleteBucket", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions",
        "s3:GetObject", "s3:ListBucket", "s3:PutObject",
        "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    }
)  # fmt: skip
"""What ``penstock deploy`` and ``destroy`` call with the caller's own rights."""

OF_FUNCTIONS: Final = frozenset({"ec2:DescribeAccountAttributes", "ec2:DescribeAvailabilityZones"})
"""What ``Fn::GetAZs`` calls (CloudFormation reference, "Fn::GetAZs", IAM permissions)."""

_PROPERTY: Final = "only for a property that no template has"
NO_ACTION: Final = "no action of IAM: an API call whose action has another name, which is granted"

NOT_CALLED: Final[Mapping[str, str]] = {
    "apigateway:*agResource": NO_ACTION,
    "cloudfront:updateDistribution": "of a sign-in at a domain of one's own",
    "cloudfront:*ConnectionGroup": "of distributions for many tenants",
    "cloudfront:CreateDistributionWithTags": NO_ACTION,
    "cloudfront:GetVpcOrigin": _PROPERTY,
    "cloudfront:UpdateDistributionWithStagingConfig": _PROPERTY,
    "application-autoscaling:*ScheduledAction": _PROPERTY,
    "cloudwatch:GetMetricData": "for predictive scaling",
    "dynamodb:*Item": "data of replicas and imports",
    "dynamodb:Query": "data of replicas and imports",
    "dynamodb:*Replica": _PROPERTY,
    "dynamodb:*Import*": _PROPERTY,
    "dynamodb:*ResourcePolicy": _PROPERTY,
    "dynamodb:*KinesisStreamingDestination": _PROPERTY,
    "dynamodb:UpdateContributorInsights": _PROPERTY,
    "kinesis:DescribeStream": "of a table's Kinesis destination",
    "kinesis:PutRecords": "of a table's Kinesis destination",
    "kinesis:*EnhancedMonitoring": _PROPERTY,
    "kinesis:StopStreamEncryption": "a stream here is always encrypted",
    "kinesis:UpdateMaxRecordSize": _PROPERTY,
    "kinesis:UpdateStreamRecordDistributionStrategy": _PROPERTY,
    "kinesis:UpdateStreamWarmThroughput": _PROPERTY,
    "ec2:Describe*": "of a function in a VPC; the hook is in none",
    "ec2:*SubnetCidrBlock": _PROPERTY,
    "ec2:*VpnGateway": _PROPERTY,
    "ec2:CreateVpcEncryptionControl": _PROPERTY,
    "ec2:ModifyVpcTenancy": _PROPERTY,
    "ecs:PutAccountSetting*": "settings of the account, which are not this deployment's",
    "elasticfilesystem:*": _PROPERTY,
    "s3files:*": _PROPERTY,
    "firehose:*": "delivery of logs, which no log group here has",
    "events:*Permission": "a policy of the bus, which has none",
    "glue:GetSchemaVersion": _PROPERTY,
    "glue:*Connection": "of a federated database",
    "iam:*GroupPolicy": "inline policies here are roles'",
    "iam:*UserPolicy": "inline policies here are roles'",
    "iam:*RolePermissionsBoundary": _PROPERTY,
    "iam:AttachRolePolicy": "no role of this template has managed policies",
    "iam:DetachRolePolicy": "no role of this template has managed policies",
    "kms:*": "granted on a key of the customer's when there is one, and not otherwise",
    "lakeformation:CreateTable": NO_ACTION,
    "lambda:AssociateRuntimeAlias": _PROPERTY,
    "lambda:*FunctionCodeSigningConfig": _PROPERTY,
    "lambda:GetCodeSigningConfig": _PROPERTY,
    "lambda:*ProvisionedConcurrencyConfig": "a scalable target that is a function",
    "lambda:GetLayerVersion": _PROPERTY,
    "lambda:PassCapacityProvider": _PROPERTY,
    "lambda:PublishVersion": _PROPERTY,
    "lambda:PutFunctionRecursionConfig": _PROPERTY,
    "lambda:PutFunctionScalingConfig": "of functions on capacity providers",
    "lambda:PutRuntimeManagementConfig": _PROPERTY,
    "logs:CreateLogDelivery": _PROPERTY,
    "logs:DeleteDataProtectionPolicy": _PROPERTY,
    "logs:PutDataProtectionPolicy": _PROPERTY,
    "logs:*IndexPolicy": _PROPERTY,
    "logs:*ResourcePolicy": _PROPERTY,
    "logs:PutBearerTokenAuthentication": _PROPERTY,
    "logs:PutLogGroupDeletionProtection": _PROPERTY,
    "logs:*LogStream*": "log of a table's import",
    "logs:PutLogEvents": "log of a table's import",
    "route53:*QueryLoggingConfig": _PROPERTY,
    "route53:UpdateHostedZoneFeatures": _PROPERTY,
    "s3:*Metadata*": _PROPERTY,
    "s3:DeleteBucket*": NO_ACTION,
    "s3:getObject": NO_ACTION,
    "s3:GetObject": "code and imports from a bucket",
    "s3:GetObjectVersion": "code and imports from a bucket",
    "s3:*Acl": "ACLs are off: BucketOwnerEnforced",
    "s3:PutAccelerateConfiguration": _PROPERTY,
    "s3:PutAnalyticsConfiguration": _PROPERTY,
    "s3:PutBucketAbac": _PROPERTY,
    "s3:PutBucketCORS": _PROPERTY,
    "s3:PutBucketLogging": _PROPERTY,
    "s3:PutBucketNotification": _PROPERTY,
    "s3:*ObjectLockConfiguration": _PROPERTY,
    "s3:Put*Replication*": _PROPERTY,
    "s3:PutBucketWebsite": _PROPERTY,
    "s3:PutIntelligentTieringConfiguration": _PROPERTY,
    "s3:PutInventoryConfiguration": _PROPERTY,
    "s3:PutMetricsConfiguration": _PROPERTY,
    "s3:*MultipartUpload*": "results of queries, which who queries writes",
    "s3:PutObject": "results of queries, which who queries writes",
    "s3:REST.PUT.OBJECT": NO_ACTION,
    "s3tables:*": _PROPERTY,
    "sns:PutDataProtectionPolicy": _PROPERTY,
    "vpc-lattice:*": _PROPERTY,
    "vpce:*": NO_ACTION,
}
"""Actions (or patterns of them) in the schemas of resource types, and why no template needs them.
None is of a schema's ``read``, which asks for every property, but those of a key or of Lattice."""

NEWER: Final = {
    ("cloudwatch:ListTagsForResource", "dashboard"),
    ("cloudwatch:TagResource", "dashboard"),
    ("cloudwatch:UntagResource", "dashboard"),
}
"""Actions on resources that CloudFormation's schemas have and the reference at hand has not yet."""
