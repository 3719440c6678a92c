"""Start and stop the embedded AWS (``infra.emulator.server``) as a subprocess."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final, TypedDict

from consumers.worker.spawn import spawn, stop
from infra.emulator.iam.decisions import (
    DECISIONS_PATH,
    DECISIONS_VARIABLE,
    Decision,
    read_decisions,
)
from infra.emulator.profile import PROFILE_PATH, PROFILE_VARIABLE, STRICT, Profile

HOST: Final = "127.0.0.1"
START_S: Final = 60.0
STOP_S: Final = 20.0
_ATTEMPTS: Final = 3


class EmulatorError(Exception):
    """The embedded AWS cannot be started; the text is a sentence that says what to do."""


class _PortTakenError(EmulatorError):
    """Another program took a port between the choice of it and its use."""


class _How(TypedDict):
    """What :meth:`Emulator.start` was asked for, apart from places."""

    persist: bool
    profile: Profile
    record_decisions: bool


class Emulator:
    """A running embedded AWS.

    ``endpoint_url`` serves every AWS API, ``mqtt_port`` is the IoT Core broker with mTLS, whose
    CA certificate is at ``ca_path``. Both listen on loopback only.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], directory: Path, port: int, mqtt_port: int
    ) -> None:
        self._process = process
        self.pid = process.pid
        self.endpoint_url = f"http://{HOST}:{port}"
        self.mqtt_port = mqtt_port
        self.ca_path = (directory / "iot-ca.pem").absolute()
        self.log_path = directory / "emulator.log"
        self._log_start = 0

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        gateway_port: int | None = None,
        mqtt_port: int | None = None,
        persist: bool = False,
        profile: Profile = STRICT,
        record_decisions: bool = False,
    ) -> Emulator:
        """Start one with all its state in ``directory``, and return when it serves.

        Ports that are not given are free ones. With ``persist`` the state is saved when it is
        stopped and loaded when it is started there again. Its limits are AWS's; ``profile`` adds
        AWS's latency and capacity. With ``record_decisions``, :meth:`decisions` has an answer.

        :raises EmulatorError: when a given port is busy, the package is missing or it dies.
        """
        if importlib.util.find_spec("ministack") is None:
            raise EmulatorError("the embedded AWS is not installed: pip install 'penstock[local]'")
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)  # its state holds the CA's private key
        for port in (gateway_port, mqtt_port):
            if port is not None and not _is_free(port):
                raise EmulatorError(
                    f"port {port} is busy: stop what uses it, or choose another with "
                    f"{'--port' if port == gateway_port else '--mqtt-port'}"
                )
        for attempt in range(_ATTEMPTS):
            emulator = cls._launch(
                directory,
                gateway_port or _free_port(),
                mqtt_port or _free_port(),
                {"persist": persist, "profile": profile, "record_decisions": record_decisions},
            )
            try:
                emulator._await()
            except _PortTakenError:
                emulator.stop()
                if attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:  # Ctrl-C too: nothing may be left running
                emulator.stop()
                raise
            else:
                return emulator
        raise AssertionError

    def stop(self) -> None:
        """Stop it, saving its state when it was started to."""
        stop(self._process, STOP_S)

    def decisions(self) -> list[Decision]:
        """What each role called since the start, and whether it was allowed.

        :raises OSError: when it does not answer.
        """
        return read_decisions(json.loads(self._get(DECISIONS_PATH)))

    def become(self, profile: Profile) -> None:
        """Follow another profile from now on; tables start with the capacity of new ones.

        :raises OSError: when it does not answer.
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self.endpoint_url}{PROFILE_PATH}", data=profile.to_json().encode(), method="PUT"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            answer.read()

    @classmethod
    def _launch(cls, directory: Path, port: int, mqtt_port: int, how: _How) -> Emulator:
        with (directory / "emulator.log").open("ab") as log:
            log_start = log.tell()
            process = spawn(
                [sys.executable, "-m", "infra.emulator.server"],
                env=environment(directory.absolute(), port, mqtt_port, **how),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        emulator = cls(process, directory, port, mqtt_port)
        emulator._log_start = log_start
        return emulator

    def _await(self) -> None:
        """Wait for the API and the broker, and fetch the CA certificate."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._death()
            if self._is_ready():
                return
            time.sleep(0.05)
        raise EmulatorError(
            f"the embedded AWS did not answer within {START_S:.0f} s; see {self.log_path}"
        )

    def _is_ready(self) -> bool:
        """Whether API and broker serve; a broker without its port is only a warning in the log,
        so it is asked for its state."""
        try:
            broker = json.loads(self._get("/_ministack/ready"))["iot_mtls"]
            if broker != "listening":
                raise _PortTakenError(
                    f"the MQTT broker is {broker} on port {self.mqtt_port}: free it, or choose "
                    "another with --mqtt-port"
                )
            self.ca_path.write_bytes(self._get("/_ministack/iot/ca.pem"))
        except OSError:  # nobody listens yet, or it answers 503 while it starts
            return False
        return True

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.endpoint_url}{path}", timeout=5) as answer:  # noqa: S310
            body: bytes = answer.read()
        return body

    def _death(self) -> EmulatorError:
        """Why the process ended, from what this run of it wrote to the log."""
        text = self.log_path.read_bytes()[self._log_start :].decode(errors="replace").strip()
        if "is already in use" in text:
            return _PortTakenError(
                f"{self.endpoint_url} is taken: stop what uses it, or choose another with --port"
            )
        last = text.splitlines()[-1] if text else "(nothing)"
        return EmulatorError(f"the embedded AWS did not start; its log ends with: {last}")


def environment(
    directory: Path,
    port: int,
    mqtt_port: int,
    *,
    persist: bool,
    profile: Profile = STRICT,
    record_decisions: bool = False,
) -> dict[str, str]:
    """The subprocess's whole environment: none of the user's AWS settings reach it, all that it
    writes is in ``directory``, and it finds no Docker (at start and end it would remove the
    containers of any MiniStack on this machine)."""
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    kept = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        PROFILE_VARIABLE: profile.to_json(),
        **({DECISIONS_VARIABLE: "1"} if record_decisions else {}),
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_PORT": str(mqtt_port),
        "BIND_HOST": HOST,
        "AUTH": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "DOCKER_HOST": f"unix://{directory / 'no-docker.sock'}",
        "PERSIST_STATE": "1" if persist else "0",
        "S3_PERSIST": "1" if persist else "0",
        "STATE_DIR": str(directory / "state"),
        "S3_DATA_DIR": str(directory / "s3"),
        "TMPDIR": str(temporary),
        "LOG_LEVEL": "WARNING",
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
