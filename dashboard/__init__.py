"""The read side: queries on the hot tables, an HTTP API over them, and the live page.

Reads DynamoDB and nothing else, with the dashboard's read-only role.
"""
