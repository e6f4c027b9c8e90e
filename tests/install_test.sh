#!/bin/bash
# `cmake --install` puts the program, the header and the models where they belong, and the installed
# program works from anywhere.
# usage: install_test.sh BUILD_DIR
set -euo pipefail
dir=$(mktemp -d "${TMPDIR:-/tmp}/install.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cmake --install "$1" --prefix "$dir/usr" > "$dir/log" || { cat "$dir/log"; exit 1; }
cd "$dir"
for file in bin/cnxc include/cnx/cnx_abi.h share/cnx/models/convnextv2_atto.cnx \
    share/cnx/models/timm.map; do
    [ -e "usr/$file" ] || { echo "not installed: $file"; exit 1; }
done
usr/bin/cnxc --version
usr/bin/cnxc inspect usr/share/cnx/models/convnextv2_atto.cnx --json > inspect.json
grep -qE '"parameters": *3708400\b' inspect.json || {
    echo "the installed Atto has not 3,708,400 parameters:"
    head -c 300 inspect.json
    exit 1
}
