#!/bin/bash
# Builds with LLVM 22 in build-llvm22/ and runs the tests that reach LLVM there: those of codegen,
# the command line and the objects (labelled `codegen`).
set -u
cd "$(dirname "$0")/.." || exit 1
dir=build-llvm22
mkdir -p $dir
{ cmake -S . -B $dir -G Ninja -DCMAKE_BUILD_TYPE=Release -DCNX_LLVM_VERSION=22 &&
    ninja -C $dir codegen_tests; } > $dir/build.log 2>&1 || {
    tail -60 $dir/build.log
    echo "LLVM 22: the build failed"
    exit 1
}
ctest --test-dir $dir -L '^codegen$' --no-tests=error --output-on-failure -j 2
