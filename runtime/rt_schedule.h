/* Learning rates by step. */
#ifndef RT_SCHEDULE_H
#define RT_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct rt_schedule {
    double peak, least;  /* learning rates */
    double warmup_steps; /* linear from 0 */
    int64_t steps;       /* of the whole run */
    bool cosine;         /* else constant after the warm-up */
} rt_schedule;

/* The rate of step `step` (from 0, step < steps): during the warm-up peak * step / warmup_steps,
 * then least + (peak - least) * (1 + cos(pi * t)) / 2 with t from 0 to 1 over the remaining steps.
 */
double rt_schedule_rate(const rt_schedule *schedule, int64_t step);

#endif
