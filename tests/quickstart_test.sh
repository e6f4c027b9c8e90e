#!/bin/bash
# ./quickstart in a copy of its own run directory: every part of it, with one epoch of training.
# usage: quickstart_test.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/quickstart.XXXXXX")
trap 'rm -rf "$dir"' EXIT
./quickstart --skip-install --build "$1" --out "$dir/run" -D epochs=1 > "$dir/stdout"
cat "$dir/stdout"
line=$(tail -n 1 "$dir/stdout")
[[ $line =~ ^test\ accuracy\ (0\.[0-9]{4})\;\ object\ and\ JIT\ agree\ on\ 16/16\ images$ ]] || {
    echo "unexpected last line: $line"
    exit 1
}
awk -v a="${BASH_REMATCH[1]}" 'BEGIN { exit !(a > 0.6) }' || {
    echo "accuracy after one epoch: ${BASH_REMATCH[1]}, expected more than 0.6"
    exit 1
}
# What it prints is the accuracy over all classes, which eval says without --json, too.
whole=$("$1/cnxc" eval models/fashion.cnx --data /usr/share/datasets/fashion-mnist \
    --weights "$dir/run/last.safetensors" 2> /dev/null | grep -oE '0\.[0-9]+' | head -1)
awk -v a="${BASH_REMATCH[1]}" -v b="$whole" 'BEGIN { exit !(a - b < 1e-3 && b - a < 1e-3) }' || {
    echo "the last line says ${BASH_REMATCH[1]}, eval says $whole"
    exit 1
}
# An object needs nothing but libc and libm.
libm='(exp|log|pow|sqrt|erf|tanh|floor|ceil|round|fma|cos|sin)f?'
foreign=$(nm -u "$dir/run/fashion.o" "$dir/run/fashion_train.o" | sed -n 's/^ *U //p' | sort -u |
    grep -vE "^(mem(cpy|set|move|cmp)|$libm)\$") || true
[ -z "$foreign" ] || { echo "the objects need: $foreign"; exit 1; }
