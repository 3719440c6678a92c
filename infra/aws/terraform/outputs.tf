output "pipeline" {
  description = "The outputs of the first stack: names and roles."
  value       = aws_cloudformation_stack.pipeline.outputs
}
