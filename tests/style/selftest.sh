#!/bin/bash
# The style checks find what they are for: each rule is shown a file that breaks it.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/style.XXXXXX")
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir"/{ir,passes,codegen,runtime/abi,tests/style,.ci,build}
cp tests/style/check.sh tests/style/globals.allow "$dir/tests/style/"
cp .clang-format "$dir/"
printf '#!/bin/sh\nset -eu\n' | tee "$dir/quickstart" "$dir/runtests" > "$dir/.ci/run"
chmod +x "$dir/quickstart" "$dir/runtests" "$dir/.ci/run"
printf 'int ir_fine(void);\n' > "$dir/ir/fine.h"
printf 'int pass_fine(void);\n' > "$dir/passes/pass_fine.h"
printf '#include "fine.h"\nint ir_fine(void) {\n    return 1;\n}\n' > "$dir/ir/fine.c"
: > "$dir/build/none"
failed=0

# breaks RULE FILE TEXT: the rule must fail while the file exists, naming it
breaks() {
    printf '%b' "$3" > "$dir/$2"
    if "$dir/tests/style/check.sh" "$1" > "$dir/log" 2>&1 || ! grep -q "$2" "$dir/log"; then
        echo "rule $1 does not see $2"
        cat "$dir/log"
        failed=1
    fi
    rm "$dir/$2"
}
long=$(printf 'x%.0s' {1..95})
body=$(printf '    f();\\n%.0s' {1..125})
breaks columns ir/long.c "int $long = 1;\n"
breaks blanks ir/tab.c 'int f(void)\n{\n\treturn 1;\n}\n'
breaks blanks ir/trail.c 'int x; \n'
breaks functions ir/big.c "void g(void)\n{\n$body}\n"
breaks functions ir/big.c "static int\ng(int a,\n  int b) {\n$body}\n"
breaks files ir/huge.c "$(printf 'int x;\\n%.0s' {1..801})"
breaks words ir/later.c '/* TO''DO */\n'
breaks llvm passes/l.c '#include <llvm-c/Core.h>\n'
breaks pragma runtime/p.c 'void f(void)\n{\n#pragma omp parallel\n}\n'
breaks layering ir/up.c '#include "pass_fine.h"\n'
breaks layering passes/fine.h 'int again;\n'
breaks layering passes/path.c '#include "../ir/fine.h"\n'
breaks format ir/ugly.c 'int   f( void ){return 1;}\n'
breaks scripts tests/broken.sh 'if then\n'

printf 'static int count;\nint ir_count(void) { return ++count; }\n' > "$dir/ir/state.c"
cc -c "$dir/ir/state.c" -o "$dir/build/state.o"
ar rcs "$dir/build/libcnx_ir.a" "$dir/build/state.o"
if "$dir/tests/style/check.sh" globals > "$dir/log" ||
    ! grep -q 'mutable global count' "$dir/log"; then
    echo "rule globals does not see a static counter"
    failed=1
fi
rm "$dir/ir/state.c"
printf 'static const char *const names[] = {"a"};\nconst char *ir_n(int i) { return names[i]; }\n' |
    cc -fPIC -x c -c - -o "$dir/build/state.o"
rm "$dir/build/libcnx_ir.a" && ar rcs "$dir/build/libcnx_ir.a" "$dir/build/state.o"
"$dir/tests/style/check.sh" all > "$dir/log" 2>&1 || { cat "$dir/log"; failed=1; }
[ $failed -eq 0 ] && echo "every rule sees what it is for"
