/* A training run: the program of a step, the program that tests, the data, and where the run
 * stands. A classifier learns from labels and is tested; a masked autoencoder (cnxc pretrain) has a
 * mask in place of labels, drawn in the step itself, and nothing to be tested by.
 *
 *     cmd_train.c      puts the pieces together: train, pretrain, finetune
 *     train_data.c     images, and the loaders that prepare them
 *     train_loop.c     steps, epochs, tests, Ctrl-C
 *     train_state.c    the run directory: weights, state, metrics, and reading them back
 *     train_failure.c  a loss that is not finite
 *
 * Everything that is learnt follows from the recipe, the seed and the data: a run that was stopped
 * or killed and continues makes the same steps on the same numbers. state.safetensors is the truth
 * about where a run stands; whatever else lies in the directory is written before it.
 */
#ifndef TRAIN_H
#define TRAIN_H

#include "evaluate.h"
#include "progress.h"

#include "rt_schedule.h"

/* Where a run stands, between two steps. */
typedef struct cli_place {
    int64_t epoch;           /* finished epochs */
    int64_t batch;           /* steps made in the epoch after them */
    double loss;             /* sum over these steps */
    int64_t correct, images; /* of these steps */
    double best;             /* the best result of a finished epoch; -INFINITY before the first */
} cli_place;

typedef struct cli_training {
    cli *c;
    cli_program step;
    cli_program test; /* inference; used if there is a test part */
    cli_facts facts;
    rt_data *data, *test_data; /* test_data: NULL if there is none */
    rt_loader *loader, *test_loader;
    rt_schedule schedule;
    int64_t steps; /* of an epoch */
    uint64_t seed;
    bool masked;           /* the step is of a masked autoencoder */
    int64_t *label;        /* (batch) of a masked autoencoder, which has no input for them */
    const char *directory; /* of the run */
    const char *from;      /* the file or run whose weights it began with; NULL: random ones */
    int lock;              /* on the directory; -1: not yet */
    bool resumes;          /* the directory holds a state, which is where this process begins */
    cli_weights first;     /* until the state is made of them */
    float *weights;        /* the parameters before the current step */
    cli_place at;
} cli_training;

/* What an epoch came to. */
typedef struct cli_epoch {
    double loss, accuracy; /* of training, means */
    bool tested;
    double test_loss, top1, top5;
    double seconds, images_per_s; /* of this process's part of it */
    double lr;                    /* of its last step */
    bool best;
} cli_epoch;

/* Trains until the last epoch is done; returns an exit code. */
int cli_training_run(cli_training *t);

/* train_data.c */
int cli_training_open_data(cli_training *t);
int cli_training_start_loaders(cli_training *t);

/* train_state.c */
const char *cli_run_file(const cli_training *t, const char *name);
/* Creates the directory, without a state: recipe.cnx, metrics.jsonl, from.txt. */
int cli_run_create(cli_training *t);
bool cli_run_exists(const cli_training *t); /* it holds a state */
/* What from.txt says: --from as it was given, "" if it was not; NULL if there is no such file. */
const char *cli_run_from(const cli_training *t);
/* Checks that the state is of this recipe, model, data and --from. */
int cli_run_check(cli_training *t);
/* Takes the state. */
int cli_run_resume(cli_training *t);
/* Writes state.safetensors. */
int cli_run_save(cli_training *t);
/* The current parameters as last.safetensors or best.safetensors. */
int cli_run_save_weights(cli_training *t, const char *name);
/* One line of metrics.jsonl, and an event of the log. */
int cli_run_add_metrics(cli_training *t, const cli_epoch *e);

/* train_failure.c: writes what is needed to look at a step whose loss is not finite, says which op
 * was the first; returns CLI_RUN_FAILED. */
int cli_training_failed(cli_training *t, uint64_t step, float loss);

#endif
