/* Ctrl-C, SIGTERM and SIGHUP, a closed terminal: the first asks a run to stop after its step, the
 * second ends the process, but for SIGHUP, which comes from the shell and from the terminal. What
 * is ignored stays so (nohup, a script's jobs in the background). */
#ifndef RT_SIGNAL_H
#define RT_SIGNAL_H

#include <stdbool.h>

void rt_signal_watch(void);
bool rt_signal_stop(void); /* whether one came */

#endif
