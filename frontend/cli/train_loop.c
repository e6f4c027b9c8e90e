/* Steps and epochs. */
#include "train.h"

#include "rt_signal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double save_pause = 300; /* seconds between states within an epoch */

/* --- one step --- */

static int64_t count_correct(const cli_io *logits, const int64_t *label, int64_t images) {
    int64_t classes = logits->type.dim[1], correct = 0;
    for (int64_t i = 0; i < images; i++)
        correct += cli_best((const float *)logits->data + i * classes, classes) == label[i];
    return correct;
}

static double rate_of(const cli_training *t, int64_t step) {
    return rt_schedule_rate(&t->schedule, step);
}

/* The batch is in the inputs; steps count from 1 in the program. */
static int make_step(cli_training *t) {
    int64_t step = t->at.epoch * t->steps + t->at.batch;
    cli_program_export(&t->step, t->weights);
    int code =
        cli_program_step(t->c, &t->step, (float)rate_of(t, step), (uint64_t)step + 1, t->seed);
    if (code != CLI_DONE) return code;
    float loss = *(const float *)cli_program_io(&t->step, "loss")->data;
    if (!isfinite(loss)) return cli_training_failed(t, (uint64_t)step + 1, loss);
    t->at.batch++;
    t->at.loss += loss;
    t->at.images += t->step.batch;
    if (!t->masked)
        t->at.correct += count_correct(cli_program_io(&t->step, "logits"),
                                       cli_program_io(&t->step, "label")->data, t->step.batch);
    return CLI_DONE;
}

/* --- the end of an epoch --- */

static int test(cli_training *t, cli_epoch *e, bool *stopped) {
    cli_accuracy a;
    cli_program_export(&t->step, t->weights);
    int code = cli_program_init(t->c, &t->test, t->weights);
    if (code == CLI_DONE) code = cli_evaluate(t->c, &t->test, t->test_loader, &a);
    if (code != CLI_DONE) return code;
    *stopped = a.stopped;
    double images = (double)a.images;
    e->tested = true;
    e->test_loss = a.loss / images;
    e->top1 = (double)a.top1 / images;
    e->top5 = (double)a.top5 / images;
    return CLI_DONE;
}

static void tell(const cli_training *t, const cli_epoch *e) {
    ir_text text = {0};
    ir_text_printf(&text, "epoch %lld: loss %.4f", (long long)t->at.epoch, e->loss);
    if (!t->masked) ir_text_printf(&text, ", accuracy %.4f", e->accuracy);
    if (e->tested) ir_text_printf(&text, "; test loss %.4f, accuracy %.4f", e->test_loss, e->top1);
    cli_note(t->c, "%s%s", text.data, e->best ? " (best)" : "");
    ir_text_free(&text);
}

/* Weights and metrics first, then the state, which makes the epoch count. Where there is a test, an
 * epoch without one is never the best. */
static int finish_epoch(cli_training *t, cli_epoch *e) {
    double result = e->tested ? e->top1 : -e->loss;
    e->best = result > t->at.best && (e->tested || !t->test_data);
    t->at = (cli_place){.epoch = t->at.epoch + 1, .best = e->best ? result : t->at.best};
    int code = cli_run_save_weights(t, "last.safetensors");
    if (code == CLI_DONE && e->best) code = cli_run_save_weights(t, "best.safetensors");
    if (code == CLI_DONE) code = cli_run_add_metrics(t, e);
    if (code == CLI_DONE) code = cli_run_save(t);
    if (code == CLI_DONE) tell(t, e);
    return code;
}

/* Ctrl-C: the state of now, from which --resume goes on. */
static int stop(cli_training *t) {
    int code = cli_run_save_weights(t, "last.safetensors");
    if (code == CLI_DONE) code = cli_run_save(t);
    if (code != CLI_DONE) return code;
    return cli_fail(t->c, CLI_RUN_FAILED,
                    "stopped after step %lld of epoch %lld; --resume continues from here",
                    (long long)t->at.batch, (long long)t->at.epoch + 1);
}

/* --- epochs --- */

typedef struct epoch_run {
    cli_training *t;
    cli_progress *progress;
    double started, saved; /* seconds */
    int64_t images;        /* of this process in this epoch */
    bool stopped;
} epoch_run;

/* Of the steps so far; negative where there are no labels. */
static double accuracy_of(const cli_training *t) {
    return t->masked ? -1 : (double)t->at.correct / (double)t->at.images;
}

static void show(epoch_run *r) {
    cli_training *t = r->t;
    cli_progress_state state = {.epoch = t->at.epoch + 1,
                                .step = t->at.batch,
                                .loss = t->at.loss / (double)t->at.batch,
                                .accuracy = accuracy_of(t)};
    if (!cli_progress_step(r->progress, &state, t->step.batch)) return;
    cli_json event = cli_event("progress");
    cli_json_whole(&event, "epoch", state.epoch);
    cli_json_whole(&event, "step", state.step);
    cli_json_number(&event, "loss", state.loss);
    if (!t->masked) cli_json_number(&event, "accuracy", state.accuracy);
    cli_json_number(&event, "images_per_s", cli_progress_speed(r->progress));
    cli_event_end(t->c, &event);
}

static int save_sometimes(epoch_run *r) {
    double now = cli_seconds();
    if (now - r->saved < save_pause || r->t->at.batch == r->t->steps) return CLI_DONE;
    r->saved = now;
    return cli_run_save(r->t);
}

/* An image that cannot be read: what was learnt stays. */
static int keep_and_fail(cli_training *t, const rt_error *error) {
    int code = cli_run_save(t);
    if (code != CLI_DONE) return code;
    return cli_fail(t->c, CLI_RUN_FAILED,
                    "%s; put another file in its place, then --resume continues from here",
                    error->text);
}

static int run_steps(epoch_run *r) {
    cli_training *t = r->t;
    cli_io *image = cli_program_io(&t->step, "image");
    int64_t *label = t->masked ? t->label : cli_program_io(&t->step, "label")->data;
    int code = CLI_DONE;
    rt_loader_start(t->loader, t->at.epoch, t->at.batch);
    while (code == CLI_DONE && t->at.batch < t->steps) {
        rt_error error;
        int64_t count = 0;
        r->stopped = rt_signal_stop();
        if (r->stopped) break;
        if (!rt_loader_next(t->loader, image->data, label, &count, &error))
            return keep_and_fail(t, &error);
        IR_ASSERT(count == t->step.batch);
        code = make_step(t);
        if (code != CLI_DONE) break;
        r->images += t->step.batch;
        show(r);
        code = save_sometimes(r);
    }
    return code;
}

static int run_epoch(cli_training *t, cli_progress *progress, bool *stopped) {
    double now = cli_seconds();
    epoch_run r = {.t = t, .progress = progress, .started = now, .saved = now};
    int code = run_steps(&r);
    cli_progress_clear(progress);
    *stopped = r.stopped;
    if (code != CLI_DONE || r.stopped) return code;
    double seconds = cli_seconds() - r.started;
    cli_epoch e = {.loss = t->at.loss / (double)t->steps,
                   .accuracy = accuracy_of(t),
                   .seconds = seconds,
                   .images_per_s = seconds > 0 ? (double)r.images / seconds : 0,
                   .lr = rate_of(t, (t->at.epoch + 1) * t->steps - 1)};
    int64_t number = t->at.epoch + 1, every = t->step.recipe.test_epochs;
    bool due = number % every == 0 || number == t->step.recipe.epochs;
    if (t->test_data && due) code = test(t, &e, stopped);
    if (code != CLI_DONE || *stopped) return code;
    return finish_epoch(t, &e);
}

int cli_training_run(cli_training *t) {
    int64_t epochs = t->step.recipe.epochs;
    cli_progress progress = cli_progress_begin(epochs, t->steps);
    while (t->at.epoch < epochs) {
        bool stopped = false;
        int code = run_epoch(t, &progress, &stopped);
        if (code != CLI_DONE) return code;
        if (stopped) return stop(t);
    }
    return CLI_DONE;
}
