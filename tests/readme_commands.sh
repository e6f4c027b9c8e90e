#!/bin/bash
# Runs every ```sh block of README.md and docs/*.md as written, each file in one scratch copy of the
# project that has the built tree as build/. A block is a script; a command that fails fails the
# test. `$ ` before a command and comments are allowed. Blocks tagged ```sh skip-test are not run:
# that is for ./quickstart and ./runtests, which have tests of their own, and nothing else. What the
# blocks write must be in .gitignore.
# usage: readme_commands.sh BUILD_DIR
set -euo pipefail
build=$(realpath "${1:?usage: readme_commands.sh BUILD_DIR}")
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/readme.XXXXXX")
trap 'rm -rf "$dir"' EXIT
failed=0 blocks=0

setup='git clone [^ ]+|cd [a-z]+|\./quickstart|\./runtests.*'
skipped=$(awk '/^```sh skip-test/ { skip = 1; next } /^```/ { skip = 0 } skip' README.md docs/*.md |
    sed -E 's/^\$ //; s/ +#.*//' | grep -vE "^($setup|)\$" || true)
if [ -n "$skipped" ]; then
    printf 'blocks tagged skip-test hold more than the set-up scripts:\n%s\n' "$skipped"
    failed=1
fi

for paper in README.md docs/*.md; do
    copy=$dir/$(basename "$paper" .md)
    mkdir "$copy"
    tar -c --exclude=./.git --exclude='./build*' --exclude=./runs . | tar -x -C "$copy"
    ln -s "$build" "$copy/build"
    awk -v dir="$copy" '
        /^```sh *$/ { n++; file = sprintf("%s/.block.%03d", dir, n); first = NR; inside = 1
                      printf "" > file; next }
        /^```/ { inside = 0 }
        inside { sub(/^\$ /, ""); print > file }' "$paper"
    git -C "$copy" init -q && git -C "$copy" add -A
    for block in "$copy"/.block.*; do
        [ -e "$block" ] || continue
        blocks=$((blocks + 1))
        start=$SECONDS
        if (cd "$copy" && timeout 600 bash -euo pipefail "$block" < /dev/null) > "$dir/log" 2>&1
        then
            printf 'ok      %s block %s (%d s)\n' "$paper" "${block##*.}" $((SECONDS - start))
        else
            printf 'FAILED  %s block %s:\n' "$paper" "${block##*.}"
            sed 's/^/    /' "$block"
            echo "  output:"
            tail -30 "$dir/log" | sed 's/^/    /'
            failed=1
        fi
    done
    written=$(git -C "$copy" status --porcelain | grep '^??' || true)
    if [ -n "$written" ]; then
        printf 'FAILED  %s: its commands write what .gitignore does not have:\n' "$paper"
        printf '    %s\n' "$written"
        failed=1
    fi
done
echo "$blocks blocks"
[ $blocks -gt 0 ] && [ $failed -eq 0 ]
