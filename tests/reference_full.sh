#!/bin/sh
# Compares every variant at full size, all small-width members, FCMAE and image transforms with the
# committed results of PyTorch, timm and Pillow, and rewrites the end of docs/parity.md. Takes
# some minutes and 4 GB of memory.
# usage: tests/reference_full.sh [BUILD_DIR]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
found=$(mktemp)
trap 'rm -f "$found"' EXIT
for program in full reference fcmae images; do
    name=test_reference_$program
    [ "$program" = reference ] && name=test_reference
    "$build/tests/$name" all > "$found.one" || { cat "$found.one"; rm -f "$found.one"; exit 1; }
    { echo "$program"; grep '^parity ' "$found.one"; echo; } >> "$found"
    rm -f "$found.one"
done

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
page=docs/parity.md
{
    sed '/^<!-- written by/q' "$page"
    echo
    echo "Commit $(git rev-parse --short HEAD), $(date -u +%Y-%m-%d), ${cpu:-CPU unknown}."
    echo
    echo '```'
    sed -e 's/^parity //' -e 's/^full$/Full size/' -e 's/^reference$/Small width/' \
        -e 's/^fcmae$/FCMAE/' -e 's/^images$/Photos/' -e '$d' "$found"
    echo '```'
} > "$page.new"
mv "$page.new" "$page"
