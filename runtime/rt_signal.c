/* The first signal sets a flag, the second one ends the process as if nobody had watched. */
#define _GNU_SOURCE
#include "rt_signal.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t rt_signal_came; /* a handler has no argument to reach anything else */

static void on_signal(int number) {
    if (rt_signal_came && number != SIGHUP) {
        signal(number, SIG_DFL);
        raise(number);
    }
    rt_signal_came = 1;
}

void rt_signal_watch(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    rt_signal_came = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
}

bool rt_signal_stop(void) {
    return rt_signal_came != 0;
}
