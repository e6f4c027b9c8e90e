/* Fuzzing without a fuzzer: a driver that mutates a corpus for a few seconds on every test run.
 *
 * A harness is one file fuzz_NAME.c that defines `fuzz_target` and `fuzz_one`. fuzz_one must return
 * for any bytes; a crash, a sanitizer's finding, an abort or ten seconds of CPU time on one input
 * fail the run, and the input is left as fuzz_NAME-SEED.input in the current directory:
 *
 *     fuzz_NAME --root DIR [--seconds 5] [--seed 1]      (the seed is printed)
 *     fuzz_NAME FILE...                                  runs just these inputs
 *
 * The mutations follow from the seed, 1 unless CNX_SEED says another one (tests/seed.h). A pattern
 * of the corpus without a file is an error: exit status 2.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_target {
    const char *name;
    const char *const *corpus;     /* patterns below the project, NULL-terminated; may be NULL */
    const char *const *dictionary; /* words that mean something to the parser, NULL-terminated */
    size_t max_size;               /* bytes of an input */
};

extern const struct fuzz_target fuzz_target;

/* One input. data[size] is a NUL that belongs to the buffer but not to the input. */
void fuzz_one(const uint8_t *data, size_t size);

#endif
