#!/bin/sh
# Formats every C file, or those given, the way the style check wants it.
set -eu
cd "$(dirname "$0")/../.."
if [ $# -gt 0 ]; then
    clang-format-19 -i "$@"
else
    find . -path ./.git -prune -o -path './build*' -prune -o -name '*.[ch]' -print |
        xargs clang-format-19 -i
fi
