#!/bin/sh
# fetch.sh FOLDER: copy the jars of KCL 3.5 (pom.xml beside this file) into FOLDER, for kcl_jars.
#
# Maven gets them, from its repository or a mirror in your settings.xml, and verifies its checksums;
# jars.sha256 locks every jar's content, so another jar under the same name is refused. FOLDER is
# made anew, once all of them are right. Exit 3: Maven is missing, or gets no answer for a jar.
set -eu

[ $# -eq 1 ] || { echo "usage: fetch.sh FOLDER" >&2; exit 2; }
mkdir -p "$(dirname "$1")"
folder=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")" && pwd)

command -v mvn >/dev/null || {
    echo "the jars of KCL 3.5 come from Maven: install Maven (\`mvn\`), or leave kcl_jars unset" >&2
    exit 3
}
new=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$new"' EXIT
timeout "${SECONDS_AT_MOST:-300}" mvn --quiet --batch-mode --strict-checksums --file "$here/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DexcludeTransitive=true -DoutputDirectory="$new" >"$new/maven.log" 2>&1 || {
    grep -m 1 ERROR "$new/maven.log" >&2 || true
    echo "Maven could not get the jars of KCL 3.5: is its repository reachable from here?" >&2
    exit 3
}
rm "$new/maven.log"
(cd "$new" && sha256sum --quiet --strict --check "$here/jars.sha256") || {
    echo "a jar is not the one that infra/kcl/jars.sha256 locks" >&2
    exit 1
}
[ "$(ls "$new" | wc -l)" -eq "$(wc -l <"$here/jars.sha256")" ] || {
    echo "a jar is not in infra/kcl/jars.sha256" >&2
    exit 1
}
chmod 755 "$new"
rm -rf "$folder"
mv "$new" "$folder"
echo "$folder: $(ls "$folder" | wc -l) jars"
