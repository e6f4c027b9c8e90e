/* Ctrl-C and SIGTERM: the first asks a run to stop after its step, the second ends the process. */
#ifndef RT_SIGNAL_H
#define RT_SIGNAL_H

#include <stdbool.h>

void rt_signal_watch(void);
bool rt_signal_stop(void); /* whether one came */

#endif
