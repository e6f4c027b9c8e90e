#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 20 };
static const double terminal_pause = 0.1, plain_pause = 5; /* seconds between lines */

double cli_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

cli_progress cli_progress_begin(int64_t epochs, int64_t steps) {
    double now = cli_seconds();
    return (cli_progress){.terminal = isatty(STDERR_FILENO) != 0,
                          .epochs = epochs,
                          .steps = steps,
                          .started = now,
                          .shown = now};
}

double cli_progress_speed(const cli_progress *p) {
    double seconds = cli_seconds() - p->started;
    return seconds > 0 ? (double)p->images / seconds : 0;
}

static void print_time(double seconds) {
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600)
        fprintf(stderr, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        fprintf(stderr, "%ld:%02ld", whole / 60, whole % 60);
}

static void print_line(const cli_progress *p, const cli_progress_state *s) {
    fprintf(stderr, "epoch %lld/%lld ", (long long)s->epoch, (long long)p->epochs);
    if (p->terminal) {
        int filled = (int)(BAR * s->step / p->steps);
        char bar[BAR + 1] = {0};
        memset(bar, '.', BAR);
        memset(bar, '#', (size_t)(filled > BAR ? BAR : filled));
        fprintf(stderr, "[%s] ", bar);
    }
    fprintf(stderr, "%lld/%lld  %.0f images/s  ETA ", (long long)s->step, (long long)p->steps,
            cli_progress_speed(p));
    int64_t left = (p->epochs - s->epoch) * p->steps + p->steps - s->step;
    print_time((cli_seconds() - p->started) / (double)p->done * (double)left);
    fprintf(stderr, "  loss %.4f", s->loss);
    if (s->accuracy >= 0) fprintf(stderr, "  acc %.4f", s->accuracy);
}

bool cli_progress_step(cli_progress *p, const cli_progress_state *state, int64_t images) {
    p->done++;
    p->images += images;
    double now = cli_seconds();
    bool last = state->step == p->steps;
    if (!last && now - p->shown < (p->terminal ? terminal_pause : plain_pause)) return false;
    p->shown = now;
    if (p->terminal) fprintf(stderr, "\r");
    print_line(p, state);
    fprintf(stderr, p->terminal ? "\x1b[K" : "\n");
    p->open = p->terminal;
    return true;
}

void cli_progress_clear(cli_progress *p) {
    if (p->open) fprintf(stderr, "\n");
    p->open = false;
}
