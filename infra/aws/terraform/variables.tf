variable "stack" {
  description = "Name of the stack; every resource's name begins with it."
  type        = string
  default     = "penstock"
}

variable "image" {
  description = "The workers' image; empty deploys no service."
  type        = string
  default     = ""
}

variable "alerts" {
  description = "Whether alert rules can be evaluated; the workers' setting alerts must say so too."
  type        = bool
  default     = false
}

variable "lake" {
  description = "Whether the archive is kept as tables in Glue, for Athena and others."
  type        = bool
  default     = false
}

variable "api" {
  description = "Whether to have the read API."
  type        = bool
  default     = false
}

variable "operations" {
  description = "Whether there are alarms, a topic and a dashboard."
  type        = bool
  default     = true
}

variable "pipeline_parameters" {
  description = "More parameters of pipeline.yaml."
  type        = map(string)
  default     = {}
}

variable "service_parameters" {
  description = "More parameters of service.yaml."
  type        = map(string)
  default     = {}
}

variable "alerts_parameters" {
  description = "More parameters of alerts.yaml."
  type        = map(string)
  default     = {}
}

variable "lake_parameters" {
  description = "More parameters of lake.yaml."
  type        = map(string)
  default     = {}
}

variable "operations_parameters" {
  description = "More parameters of operations.yaml."
  type        = map(string)
  default     = {}
}

variable "api_parameters" {
  description = "More parameters of api.yaml: CodeBucket, CodeKey and Tiers have no defaults."
  type        = map(string)
  default     = {}
}
