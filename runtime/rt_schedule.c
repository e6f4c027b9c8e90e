/* Linear warm-up, then half a cosine or a constant. */
#include "rt_schedule.h"

#include <math.h>

double rt_schedule_rate(const rt_schedule *schedule, int64_t step) {
    double warm = schedule->warmup_steps, at = (double)step;
    if (at < warm) return schedule->peak * at / warm;
    double rest = (double)schedule->steps - warm;
    if (!schedule->cosine || rest <= 0) return schedule->peak;
    double t = (at - warm) / rest;
    t = t < 1 ? t : 1;
    return schedule->least + (schedule->peak - schedule->least) * (1 + cos(M_PI * t)) / 2;
}
