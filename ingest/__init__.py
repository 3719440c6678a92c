"""The contract: what a message is, where it is published, what a stream record looks like.

Everything else imports this package; it imports nothing of ours.
"""
