/* First values of parameters. */
#include "rt_init.h"

#include "rt_random.h"

#include <math.h>
#include <string.h>

/* Attempt k at an element draws from stream RT_STREAM_INIT + k. */
static rt_place place_of(uint32_t number, int64_t element, uint32_t attempt) {
    return (rt_place){.step = (uint32_t)((uint64_t)element >> 32),
                      .stream = RT_STREAM_INIT + attempt,
                      .sample = number,
                      .index = (uint32_t)element};
}

static double normal(double std, uint64_t seed, uint32_t number, int64_t element) {
    return std * rt_random_normal(seed, place_of(number, element, 0));
}

/* Both loops take a draw with a probability above 0.6, whatever the deviation is. A wide normal is
 * drawn under the flat top of its density, where almost no draw of the normal itself would fall. */
static double trunc_normal(double std, uint64_t seed, uint32_t number, int64_t element) {
    const double bound = 2;
    for (uint32_t attempt = 0;; attempt += 2) {
        rt_place place = place_of(number, element, attempt);
        if (std <= bound) {
            double value = std * rt_random_normal(seed, place);
            if (fabs(value) <= bound) return value;
        } else {
            double value = bound * (2 * (double)rt_random_uniform(seed, place) - 1);
            rt_place next = place_of(number, element, attempt + 1);
            double height = exp(-value * value / (2 * std * std));
            if ((double)rt_random_uniform(seed, next) < height) return value;
        }
    }
}

bool rt_init_fill(const char *rule, double std, uint64_t seed, uint32_t number, float *out,
                  int64_t count) {
    bool drawn = strcmp(rule, "normal") == 0, cut = strcmp(rule, "trunc_normal") == 0;
    if (drawn || cut) {
        if (!isfinite(std) || std < 0) return false;
        for (int64_t i = 0; i < count; i++)
            out[i] =
                (float)(cut ? trunc_normal(std, seed, number, i) : normal(std, seed, number, i));
        return true;
    }
    double value;
    if (strcmp(rule, "zeros") == 0)
        value = 0;
    else if (strcmp(rule, "ones") == 0)
        value = 1;
    else if (strcmp(rule, "constant") == 0)
        value = std;
    else
        return false;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)value;
    return true;
}
