#include "evaluate.h"

#include "rt_signal.h"

#include <math.h>
#include <stdlib.h>

int64_t cli_rank_of(const float *logits, int64_t classes, int64_t label) {
    float mine = logits[label];
    int64_t rank = 0;
    for (int64_t k = 0; k < classes; k++)
        rank += k != label && (!(logits[k] <= mine) || (logits[k] == mine && k < label));
    return rank;
}

int64_t cli_best(const float *logits, int64_t classes) {
    int64_t best = -1;
    for (int64_t k = 0; k < classes; k++)
        if (best < 0 ? !isnan(logits[k]) : logits[k] > logits[best]) best = k;
    return best;
}

/* -log softmax(logits)[label] */
static double cross_entropy(const float *logits, int64_t classes, int64_t label) {
    double most = -INFINITY, sum = 0;
    for (int64_t k = 0; k < classes; k++)
        most = fmax(most, (double)logits[k]);
    for (int64_t k = 0; k < classes; k++)
        sum += exp((double)logits[k] - most);
    return most + log(sum) - (double)logits[label];
}

static void count(const cli_io *logits, const int64_t *label, int64_t images,
                  cli_class_accuracy *of_class, cli_accuracy *accuracy) {
    int64_t classes = logits->type.dim[1];
    for (int64_t i = 0; i < images; i++) {
        const float *row = (const float *)logits->data + i * classes;
        int64_t rank = cli_rank_of(row, classes, label[i]);
        accuracy->top1 += rank < 1;
        accuracy->top5 += rank < 5;
        accuracy->loss += cross_entropy(row, classes, label[i]);
        if (!of_class) continue;
        of_class[label[i]].images++;
        of_class[label[i]].top1 += rank < 1;
        of_class[label[i]].top5 += rank < 5;
    }
    accuracy->images += images;
}

int cli_evaluate(cli *c, cli_program *p, rt_loader *loader, cli_accuracy *accuracy) {
    return cli_evaluate_classes(c, p, loader, NULL, accuracy);
}

int cli_evaluate_classes(cli *c, cli_program *p, rt_loader *loader, cli_class_accuracy *of_class,
                         cli_accuracy *accuracy) {
    const cli_io *image = cli_program_io(p, "image"), *logits = cli_program_io(p, "logits");
    int64_t *label = calloc((size_t)p->batch, sizeof *label), images = 0;
    int code = label ? CLI_DONE : cli_fail(c, CLI_RUN_FAILED, "out of memory");
    *accuracy = (cli_accuracy){0};
    rt_loader_start(loader, 0, 0);
    while (code == CLI_DONE) {
        rt_error error;
        accuracy->stopped = rt_signal_stop();
        if (accuracy->stopped) break;
        if (!rt_loader_next(loader, image->data, label, &images, &error))
            code = cli_fail(c, CLI_RUN_FAILED, "%s", error.text);
        if (code != CLI_DONE || images == 0) break;
        code = cli_program_step(c, p, 0, 1, 0);
        if (code == CLI_DONE) count(logits, label, images, of_class, accuracy);
    }
    free(label);
    return code;
}

int cli_load(cli *c, const cli_program *p, const char *path, cli_facts *facts,
             cli_weights *weights) {
    int code = cli_facts_of(c, p, facts);
    if (code == CLI_DONE) code = cli_weights_load(c, p, path, weights);
    if (code == CLI_DONE) code = cli_facts_update(c, path, weights->file, facts);
    return code;
}

int cli_ready(cli *c, cli_program *p, cli_weights *weights) {
    int code = cli_program_compile(c, p);
    if (code == CLI_DONE) code = cli_program_memory(c, p);
    if (code == CLI_DONE) code = cli_weights_init(c, p, weights);
    cli_weights_free(weights);
    return code;
}
