/* The seed of a test that draws: the same in every run, so that a failure is there again.
 * CNX_SEED=N is another one, CNX_SEED=random one from the clock. Whoever takes it prints it. */
#ifndef SEED_H
#define SEED_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t seed_of_test(void) {
    const char *given = getenv("CNX_SEED");
    if (!given || !*given) return 1;
    if (strcmp(given, "random") == 0) return 1 + (uint64_t)time(NULL) % 1000000;
    return strtoull(given, NULL, 10);
}

#endif
