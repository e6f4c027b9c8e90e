#!/bin/sh
# The golden runner itself: passes what is right, fails what is wrong, rewrites on --update.
# usage: selftest.sh GOLDEN ROOT
set -eu
golden=$1 root=$2
dir=$(mktemp -d "${TMPDIR:-/tmp}/golden-selftest.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# A stand-in for cnxc: prints its arguments and its files, and behaves as the file says.
mkdir "$dir/bin"
cat > "$dir/bin/cnxc" <<'END'
#!/bin/sh
echo "args: $*"
for file in "$@"; do [ -f "$file" ] && cat "$file"; done
grep -q crash "$1" && kill -ABRT $$
grep -q hang "$1" && sleep 30
grep -q wrong "$1" && { echo "$1:1: wrong" >&2; exit 1; }
exit 0
END
chmod +x "$dir/bin/cnxc"

failures=0
# expect STATUS PATTERN NAME [option]: runs $dir/NAME.golden and looks at status and text
expect() {
    status=0
    "$golden" ${4:-} --cnxc "$dir/bin/cnxc" --root "$root" "$dir/$3.golden" \
        > "$dir/out" 2>&1 || status=$?
    if [ "$status" -ne "$1" ] || ! grep -q -e "$2" "$dir/out"; then
        echo "$3: status $status, expected $1 and '$2' in:"
        cat "$dir/out"
        failures=$((failures + 1))
    fi
}

printf '%s\n' '# RUN: cnxc %s %models/x' 'hello' '# EXPECT-STDOUT:' \
    'args: input.cnx %models/x' 'hello' > "$dir/right.golden"
expect 0 '^ok' right

printf '%s\n' '# RUN: cnxc %s' 'hello' '# EXPECT-STDOUT:' 'args: input.cnx' 'hullo' \
    > "$dir/differs.golden"
expect 1 '- hullo' differs
expect 1 '+ hello' differs
expect 0 updated differs --update
expect 0 '^ok' differs

printf '%s\n' '# RUN: cnxc %s' 'wrong' '# EXPECT-STDOUT:' 'args: input.cnx' 'wrong' \
    '# EXPECT-STDERR:' 'input.cnx:1: wrong' > "$dir/status.golden"
expect 1 'exit status 1, expected 0' status
expect 0 updated status --update
grep -q '^# EXIT: 1$' "$dir/status.golden" || { echo "no EXIT line written"; failures=1; }
expect 0 '^ok' status

printf '%s\n' '# RUN: cnxc %s' 'silent?' > "$dir/unexpected.golden"
expect 1 'stdout differs' unexpected

printf '%s\n' '# RUN: cnxc %s' 'crash' > "$dir/crash.golden"
expect 1 'signal 6' crash
expect 1 'signal 6' crash --update

printf '%s\n' '# RUN: cnxc %s' '# TIMEOUT: 1' 'hang' > "$dir/hang.golden"
expect 1 'no end after 1 s' hang

printf '%s\n' '# RUN: false' '# RUN: true' > "$dir/first.golden"
expect 1 'exit status 1' first

printf '%s\n' '# REQUIRES: no_such_flag' '# RUN: true' > "$dir/skip.golden"
expect 77 '^skipped' skip

printf '%s\n' 'no command' > "$dir/norun.golden"
expect 1 "no '# RUN:' line" norun

printf '%s\n' '# RUN: cat a.cnx %s' '# FILE: b.cnx' 'b' '# FILE: a.cnx' 'a' '# EXPECT-STDOUT:' \
    'a' 'b' > "$dir/files.golden"
expect 0 '^ok' files

printf '%s\n' '# RUN: printf "\\\\back\n# EXPECT-STDOUT:\nend"' > "$dir/quote.golden"
expect 0 updated quote --update
expect 0 '^ok' quote

[ "$failures" -eq 0 ] || exit 1
echo "the golden runner behaves"
