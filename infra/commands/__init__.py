"""The command line: one file for each command or group, named for it; see ``infra.cli``."""
