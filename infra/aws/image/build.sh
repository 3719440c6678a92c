#!/bin/sh
# build.sh FOLDER: install a worker into FOLDER, an environment of its own, from locked packages alone.
#
# Every package, the KCL with its jars and the Java runtime among them, has the version and the hash
# of requirements/production.txt, and is a wheel: nothing is compiled, no code of a package runs.
# PYTHON is the interpreter that the environment belongs to. The Dockerfile beside this file runs it.
set -eu

[ $# -eq 1 ] || { echo "usage: build.sh FOLDER" >&2; exit 2; }
folder=$1
python=${PYTHON:-python3}
root=$(cd "$(dirname "$0")/../../.." && pwd)
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

pip() {
    "$tools/env/bin/python" -m pip --disable-pip-version-check --no-input "$@"
}

"$python" -m venv "$tools/env"
pip install -q --require-hashes --only-binary :all: -r "$root/requirements/build.txt"
(cd "$root" && "$tools/env/bin/python" -m hatchling build -t wheel -d "$tools/dist" >/dev/null)

"$python" -m venv --without-pip "$folder"
pip --python "$folder/bin/python" install -q --require-hashes --only-binary :all: \
    -r "$root/requirements/production.txt"
pip --python "$folder/bin/python" install -q --no-deps --no-index "$tools"/dist/penstock-*.whl

"$folder/bin/penstock" --version
