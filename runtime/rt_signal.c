/* The first signal sets a flag, the second one ends the process as if nobody had watched. */
#define _GNU_SOURCE
#include "rt_signal.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t rt_signal_came; /* a handler has no argument to reach anything else */

static void on_signal(int number) {
    if (rt_signal_came) {
        signal(number, SIG_DFL);
        raise(number);
    }
    rt_signal_came = 1;
}

void rt_signal_watch(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    rt_signal_came = 0;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool rt_signal_stop(void) {
    return rt_signal_came != 0;
}
