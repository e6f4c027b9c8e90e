/* Accuracy of a network on a data set: an inference program over the batches of a loader. */
#ifndef EVALUATE_H
#define EVALUATE_H

#include "facts.h"

typedef struct cli_accuracy {
    int64_t images;
    int64_t top1, top5; /* images whose label is the first, among the first five */
    double loss;        /* sum over images of -log softmax at the label */
    bool stopped;       /* Ctrl-C came before the end */
} cli_accuracy;

/* Of the images of one class. */
typedef struct cli_class_accuracy {
    int64_t images, top1, top5;
} cli_class_accuracy;

/* Runs a program with inputs `image` (and no other) that is ready to run over one pass of the
 * loader's images. Returns an exit code; stops between batches when rt_signal_stop says so. */
int cli_evaluate(cli *c, cli_program *p, rt_loader *loader, cli_accuracy *accuracy);
/* The same, and adds up the images of each label. of_class: (classes) */
int cli_evaluate_classes(cli *c, cli_program *p, rt_loader *loader, cli_class_accuracy *of_class,
                         cli_accuracy *accuracy);

/* Finds the weights of a planned inference program; `facts` are the model's with those of the file.
 * Returns an exit code; free the weights, which are empty before, in any case. */
int cli_load(cli *c, const cli_program *p, const char *path, cli_facts *facts,
             cli_weights *weights);
/* Then compiles it and makes it ready to run, which frees the weights. What can be checked without
 * that comes before it. */
int cli_ready(cli *c, cli_program *p, cli_weights *weights);

/* How many logits stand before that of `label`: 0 means the first. One that is not a number stands
 * behind all others. logits: (classes) */
int64_t cli_rank_of(const float *logits, int64_t classes, int64_t label);
/* The place of the largest logit; -1 if there is none. */
int64_t cli_best(const float *logits, int64_t classes);

#endif
