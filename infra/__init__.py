"""Templates, deployment, the embedded AWS for local runs, and the command line.

This package wires the others together; none of them imports it.
"""
