#!/bin/sh
# The rules of the code that a machine can check; each is one test, so a failure names its rule.
# usage: check.sh RULE [BUILD_DIR]     RULE is one of the functions rule_* below, or `all`
set -u
cd "$(dirname "$0")/../.." || exit 2
build=${2:-build}

# Every file of the project with one of the given extensions.
files() {
    names=
    for ext in "$@"; do names="$names -o -name *.$ext"; done
    set -f
    find . -path ./.git -prune -o -path './build*' -prune -o -path ./runs -prune \
        -o -type f \( -name .none $names \) -print | sed 's,^\./,,' | sort
    set +f
}

c_files() { files c h def; }
scripts() {
    printf '%s\n' quickstart runtests .ci/run
    files sh
}

rule_columns() { # lines of at most 100 columns; rows of the tables in *.def may be longer
    { c_files; files cnx cmake; scripts; find . -name CMakeLists.txt -not -path './build*'; } |
        xargs awk 'length($0) > 100 && !(FILENAME ~ /\.def$/ && /^[A-Z_]+\(/) {
            printf "%s:%d: %d columns, at most 100\n", FILENAME, FNR, length($0) }'
}

rule_blanks() { # no tabs in C, no blanks at line ends, no CR
    c_files | xargs awk '
        /\t/ { printf "%s:%d: tab\n", FILENAME, FNR }
        /[ \r]$/ { printf "%s:%d: blank at the end of the line\n", FILENAME, FNR }'
}

rule_functions() { # at most 120 lines, but for a flat switch; those over 60 are listed only
    files c h | xargs awk '
        FNR == 1 { start = 0 }
        /^[A-Za-z_].*\(/ && !/;[ \t]*$/ && !/^(struct|union|enum|typedef)[^(]*$/ && !/=/ {
            start = FNR; name = $0; cases = 0 }
        /^[ \t]*case / { cases++ }
        /^}/ && start {
            size = FNR - start + 1
            sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
            if (size > 120 && cases < 25)
                printf "%s:%d: %s has %d lines, at most 120\n", FILENAME, start, name, size
            else if (size > 60)
                printf "note: %s:%d: %s has %d lines\n", FILENAME, start, name, size
            start = 0 }'
}

rule_files() { # at most 800 lines
    c_files | xargs awk 'FNR == 801 { print FILENAME ": more than 800 lines" }'
}

rule_words() { # nothing left for later, no paths of a machine
    { c_files; files cnx cmake txt md golden; scripts; } | grep -v '^tests/style/check.sh$' |
        xargs grep -nE '\b(TO''DO|FIX''ME|XX''X)\b|/wo''rk/|/ho''me/|/ro''ot/' |
        sed 's/$/   <- not in this project/'
}

rule_llvm() { # only codegen/ sees LLVM
    files c h | grep -v '^codegen/' | xargs grep -nE '#[ ]*include[ ]*[<"]llvm' |
        sed 's/$/   <- LLVM outside codegen/'
}

rule_pragma() { # only one file knows OpenMP
    files c h | grep -v '^runtime/rt_parallel\.c$' |
        xargs grep -nE '^[ ]*#[ ]*pragma[ ]+omp|^[ ]*_Pragma.*omp|#[ ]*include[ ]*<omp\.h>' |
        sed 's/$/   <- OpenMP outside runtime\/rt_parallel.c/'
}

# A folder includes only what the design table allows; headers are found by their base name, which
# therefore must be unique.
rule_layering() {
    files h def | grep -v '^tests/' |
        awk -F/ '{ if (seen[$NF]++) print $0 ": a second file of this name" }'
    {
        files h def | sed 's/^/H /'
        files c h | xargs grep -HE '^ *# *include *"' | sed 's/^/I /'
    } | awk '
        function folder(path) {
            if (path ~ /^frontend\/cli\//) return "frontend/cli"
            if (path ~ /^runtime\/abi\//) return "runtime/abi"
            sub(/\/.*/, "", path); return path
        }
        BEGIN {
            allowed["ir"] = " ir "
            allowed["frontend"] = " frontend ir "
            allowed["passes"] = " passes ir "
            allowed["codegen"] = " codegen ir runtime/abi "
            allowed["runtime"] = " runtime runtime/abi "
            allowed["runtime/abi"] = " runtime/abi "
        }
        $1 == "H" { base = $2; sub(/.*\//, "", base); where[base] = folder($2); next }
        {
            file = $2; sub(/:.*/, "", file); from = folder(file)
            header = $0; sub(/^[^"]*"/, "", header); sub(/".*/, "", header)
            if (!(from in allowed)) next
            what = file ": \"" header "\" "
            if (header ~ /\//) print what "has a folder: include by base name"
            else if (!(header in where)) print what "is no header of the project"
            else if (!index(allowed[from], " " where[header] " "))
                print what "is of " where[header] "/, which " from "/ may not include"
        }'
}

rule_globals() { # no mutable globals in the libraries, but for those in globals.allow
    libs=$(find "$build" -name 'libcnx_*.a' 2>/dev/null)
    [ -n "$libs" ] || { echo "$build: no libraries built"; return; }
    for lib in $libs; do
        objdump -t "$lib" | awk -v lib="${lib##*/}" '
            /file format/ { object = $1; sub(/:$/, "", object) }
            NF > 3 && $(NF - 1) !~ /^0+$/ && $0 ~ / O / && $(NF - 2) !~ /rel\.ro/ &&
            $(NF - 2) ~ /^(\.data|\.bss|\.tbss|\.tdata|\*COM\*)/ {
                name = $NF; sub(/\.[0-9]+$/, "", name); print lib, object, name }'
    done | while read -r lib object name; do
        grep -q "^$name\([ ]\|$\)" tests/style/globals.allow ||
            echo "$lib: $object: mutable global $name"
    done
}

rule_format() { # .clang-format at the top; tests/style/format.sh rewrites
    clang-format-19 --version > /dev/null || { echo "clang-format-19 does not run"; return; }
    files c h | xargs clang-format-19 --dry-run --Werror 2>&1 | grep -E 'error:' | cut -d: -f1 |
        sort | uniq -c | awk '{ print $2 ": " $1 " places differ from .clang-format" }'
}

rule_scripts() { # scripts parse, are executable, and stop at errors
    scripts | while read -r script; do
        [ -x "$script" ] || echo "$script: not executable"
        bash -n "$script" 2>&1
        grep -qE '^set -[a-z]*u' "$script" || echo "$script: no 'set -u'"
    done
}

rules="columns blanks functions files words llvm pragma layering globals format scripts"
failed=0
run_rule() {
    found=$(rule_"$1")
    notes=$(printf '%s\n' "$found" | grep '^note: ')
    errors=$(printf '%s\n' "$found" | grep -v '^note: ')
    [ -z "$notes" ] || printf '%s\n' "$notes"
    if [ -n "$errors" ]; then
        printf '%s: broken\n%s\n' "$1" "$errors"
        failed=1
    else
        printf '%s: ok\n' "$1"
    fi
}

case ${1:-all} in
all) for rule in $rules; do run_rule "$rule"; done ;;
*)
    case " $rules " in
    *" $1 "*) run_rule "$1" ;;
    *) echo "no rule '$1'; rules: $rules" >&2; exit 2 ;;
    esac ;;
esac
exit $failed
