"""``penstock consume``: a worker."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import rich_click as click
from botocore.exceptions import ClientError

from consumers.kcl.first_leases import prepare_leases
from consumers.logs import logging_to
from consumers.worker.metrics_log import metrics_logged
from consumers.worker.status_server import StatusServer
from consumers.worker.supervisor import Worker
from infra.commands.options import aws_option
from infra.console import UserError, say
from infra.runfile import HOME
from infra.target import Target, find_target
from infra.worker.assembly import worker_of
from ingest.traces.otlp import TracesError, require


@click.command()
@aws_option
def consume(aws: bool) -> None:
    """Run a worker: one KCL daemon, one child for each shard it holds a lease of.

    Run as many as you like, on as many hosts; the shards are distributed among them. Stop it
    with Ctrl-C or SIGTERM: it then commits what it holds and releases its leases.
    """
    target = find_target(aws=aws)
    _check_traces(target)
    _check_stream(target)
    with ExitStack() as stack:
        stack.enter_context(logging_to(sys.stderr.buffer))
        directory = stack.enter_context(_directory())
        worker = stack.enter_context(
            worker_of(target, directory=directory, output=sys.stderr.buffer)
        )
        if target.settings.metrics == "emf":
            stack.enter_context(
                metrics_logged(
                    worker.status,
                    sys.stdout.buffer,
                    stack=target.settings.stack,
                    worker=lambda: worker.worker_id,
                )
            )
        server = stack.enter_context(_status_server(target, worker))
        say(
            f"worker of {target.settings.stream} is up, for {worker.capacity.leases} shards at "
            f"most; status and metrics on http://{target.settings.status_host}:{server.port}; "
            "stop with Ctrl-C"
        )
        worker.run(_until_signal(), time.monotonic)
        say("stopping: committing what is held")


@contextmanager
def _directory() -> Iterator[Path]:
    """A folder for this worker's files, removed when the worker ends."""
    folder = HOME / f"worker-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_traces(target: Target) -> None:
    if target.settings.traces.endpoint is not None:
        try:
            require()
        except TracesError as error:
            raise UserError(str(error)) from None


def _check_stream(target: Target) -> None:
    settings = target.settings
    kinesis = target.client("kinesis", "worker")
    try:
        kinesis.describe_stream_summary(StreamName=settings.stream)
        prepare_leases(
            target.client("dynamodb", "worker"),
            kinesis,
            stream=settings.stream,
            application=settings.application,
            position=settings.initial_position,
        )
    except ClientError as error:
        raise UserError(
            f"cannot read stream {settings.stream} in {settings.region}: {error}; "
            "deploy the stack first (`penstock deploy`), or check `stack` and `region`"
        ) from None


def _status_server(target: Target, worker: Worker) -> StatusServer:
    settings = target.settings
    port = 0 if target.local else settings.status_port
    try:
        return StatusServer(
            worker.status, port, host=settings.status_host, token=settings.status_token
        )
    except OSError as error:
        raise UserError(
            f"cannot listen on {settings.status_host}:{port} ({error}): set status_port to another "
            "port, or to 0 for any, and status_host to an address of this machine"
        ) from None


def _until_signal() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
