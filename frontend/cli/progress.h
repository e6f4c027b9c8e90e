/* Progress of a training run on stderr: one moving line on a terminal, a plain line every few
 * seconds elsewhere.
 *
 *     epoch 3/10 [#########...........] 210/468  5120 images/s  ETA 1:03  loss 0.412  acc 0.853
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cli_progress {
    bool terminal;
    int64_t epochs, steps; /* of the whole run; of an epoch */
    double started;        /* seconds; of this process's part of the run */
    double shown;          /* when the last line was printed */
    int64_t done;          /* steps made by this process */
    int64_t images;        /* images seen by this process */
    bool open;             /* the moving line stands there */
} cli_progress;

typedef struct cli_progress_state {
    int64_t epoch, step;   /* from 1; steps made in this epoch */
    double loss, accuracy; /* means since the start of the epoch; accuracy < 0: not known */
} cli_progress_state;

double cli_seconds(void); /* monotonic */
cli_progress cli_progress_begin(int64_t epochs, int64_t steps);
/* Counts one step of `images` images and shows it when it is time; returns whether it was. */
bool cli_progress_step(cli_progress *p, const cli_progress_state *state, int64_t images);
/* Ends the moving line, so that other text can follow. */
void cli_progress_clear(cli_progress *p);
double cli_progress_speed(const cli_progress *p); /* images per second so far */

#endif
