# The same six CloudFormation stacks, deployed by Terraform. `penstock deploy` is not needed then; what it
# does beside the templates (deletion protection after the creation, taking over what was kept) is not done.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  templates = "${path.module}/../../templates"
  # CloudFormation takes 51,200 bytes: without comments and empty lines, as `penstock deploy` sends it.
  pipeline = replace(file("${local.templates}/pipeline.yaml"), "/(?m)^[ \\t]*(#.*)?\\n/", "")
  tags     = { project = "penstock" }
}

resource "aws_cloudformation_stack" "pipeline" {
  name          = var.stack
  template_body = local.pipeline
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  parameters    = merge({ DeletionProtection = "true" }, var.pipeline_parameters)
  tags          = local.tags
}

resource "aws_cloudformation_stack" "alerts" {
  count         = var.alerts ? 1 : 0
  name          = "${var.stack}-alerts"
  template_body = file("${local.templates}/alerts.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  parameters    = merge(var.alerts_parameters, { Pipeline = var.stack })
  tags          = local.tags
  depends_on    = [aws_cloudformation_stack.pipeline]
}

resource "aws_cloudformation_stack" "service" {
  count         = var.image == "" ? 0 : 1
  name          = "${var.stack}-service"
  template_body = file("${local.templates}/service.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  parameters = merge({ Alerts = tostring(var.alerts), Lake = tostring(var.lake) }, var.service_parameters, {
    Pipeline      = var.stack
    Image         = var.image
    WorkerRoleArn = aws_cloudformation_stack.pipeline.outputs["WorkerRoleArn"]
  })
  tags = local.tags
}

# The tasks run in the service's cluster and network; without a service, lake_parameters name them, or there
# are no tasks.
resource "aws_cloudformation_stack" "lake" {
  count         = var.lake ? 1 : 0
  name          = "${var.stack}-lake"
  template_body = file("${local.templates}/lake.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  parameters = merge(
    var.image == "" ? {} : {
      Image           = aws_cloudformation_stack.service[0].outputs["Image"]
      CpuArchitecture = aws_cloudformation_stack.service[0].outputs["CpuArchitecture"]
      Cluster         = aws_cloudformation_stack.service[0].outputs["ClusterName"]
      SubnetIds       = aws_cloudformation_stack.service[0].outputs["SubnetIds"]
      SecurityGroup   = aws_cloudformation_stack.service[0].outputs["SecurityGroup"]
      AssignPublicIp  = aws_cloudformation_stack.service[0].outputs["AssignPublicIp"]
    },
    var.lake_parameters,
    {
      Pipeline  = var.stack
      KmsKeyArn = lookup(var.pipeline_parameters, "KmsKeyArn", "")
    },
  )
  tags       = local.tags
  depends_on = [aws_cloudformation_stack.pipeline]
}

resource "aws_cloudformation_stack" "operations" {
  count         = var.operations ? 1 : 0
  name          = "${var.stack}-operations"
  template_body = file("${local.templates}/operations.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  parameters = merge(var.operations_parameters, {
    Pipeline = var.stack
    RuleName = aws_cloudformation_stack.pipeline.outputs["RuleName"]
  })
  tags = local.tags
}

# CodeBucket, CodeKey and Tiers are among its parameters: see docs/aws.md, "Page and read API".
resource "aws_cloudformation_stack" "api" {
  count         = var.api ? 1 : 0
  name          = "${var.stack}-api"
  template_body = file("${local.templates}/api.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  parameters = merge(var.api_parameters, {
    Pipeline  = var.stack
    KmsKeyArn = lookup(var.pipeline_parameters, "KmsKeyArn", "")
  })
  tags       = local.tags
  depends_on = [aws_cloudformation_stack.pipeline]
}
