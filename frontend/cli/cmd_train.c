/* cnxc train, pretrain, finetune: from a model, a recipe and images to trained weights. */
#include "train.h"

#include "rt_signal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- programs --- */

static bool has_io(const cli_program *p, const char *name, ir_dtype dtype) {
    const cli_io *io = cli_program_io(p, name);
    return io && io->type.dtype == dtype;
}

static int check_step(cli_training *t) {
    const char *command = cli_command_name(t->c->options->command);
    t->masked = t->c->options->command == CLI_COMMAND_pretrain;
    if (t->masked && (!has_io(&t->step, "mask", IR_F32) || !has_io(&t->step, "loss", IR_F32)))
        return cli_fail(t->c, CLI_USER_ERROR,
                        "'%s' has no input mask: f32[N,L] and output loss, which '%s' needs; "
                        "models/fcmae_*.cnx have them",
                        t->step.plan->name, command);
    if (!t->masked && (!has_io(&t->step, "label", IR_I64) || !has_io(&t->step, "loss", IR_F32)))
        return cli_fail(t->c, CLI_USER_ERROR,
                        "'%s' has no input label: i64[N] and output loss, which '%s' needs",
                        t->step.plan->name, command);
    return CLI_DONE;
}

static int plan_step(cli_training *t) {
    cli *c = t->c;
    if (cli_is_graph_file(c->options->model))
        return cli_wrong_usage(c,
                               "'%s' is a graph without a recipe; expected a "
                               "file .cnx",
                               c->options->model);
    cli_want want = {.kind = IR_KIND_TRAIN, .random = true, .keep_source = true};
    int code = cli_program_graph(c, &want, &t->step);
    if (code == CLI_DONE) code = cli_program_plan(c, &t->step);
    if (code == CLI_DONE) code = check_step(t);
    if (code == CLI_DONE) code = cli_facts_of(c, &t->step, &t->facts);
    t->seed = (uint64_t)t->step.recipe.seed;
    return code;
}

static int plan_test(cli_training *t) {
    cli_want want = {.kind = IR_KIND_INFER, .batch = t->step.batch, .second = true};
    int code = cli_program_graph(t->c, &want, &t->test);
    return code == CLI_DONE ? cli_program_plan(t->c, &t->test) : code;
}

/* All memory of the run together: pages that are only promised count as free. */
static int check_memory(cli_training *t) {
    int64_t image = (int64_t)t->facts.channels * t->facts.size * t->facts.size * 4;
    int64_t bytes = cli_program_bytes(&t->step) + 4 * t->step.plan->weights_elements;
    int64_t prepared = RT_LOADER_SLOTS * image * t->step.batch; /* of a loader */
    bytes += prepared;
    if (t->test_data) bytes += prepared + cli_program_bytes(&t->test);
    const char *what = ir_arena_printf(t->c->arena, "training '%s' at batch %lld", t->facts.model,
                                       (long long)t->step.batch);
    return cli_check_memory(t->c, what, bytes);
}

static int build(cli_training *t, cli_program *p) {
    int code = cli_program_compile(t->c, p);
    return code == CLI_DONE ? cli_program_memory(t->c, p) : code;
}

/* --- schedule --- */

static void set_schedule(cli_training *t) {
    const fe_recipe *recipe = &t->step.recipe;
    t->schedule = (rt_schedule){.peak = fe_recipe_lr(recipe),
                                .least = recipe->min_lr,
                                .warmup_steps = recipe->warmup_epochs * (double)t->steps,
                                .steps = recipe->epochs * t->steps,
                                .cosine = strcmp(recipe->schedule, "cosine") == 0};
}

/* --- where the run begins --- */

static bool is_directory(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

/* A run without state begins as it was asked to, now or when it was started: nothing was learnt. */
static int find_beginning(cli_training *t) {
    cli *c = t->c;
    const char *asked = cli_run_from(t);
    if (!t->from && asked && *asked) t->from = asked;
    if (!t->from && c->options->command == CLI_COMMAND_finetune)
        return cli_fail(c, CLI_USER_ERROR,
                        "'%s' holds no state to resume; start the run with --from RUN",
                        t->directory);
    cli_note(c, "'%s' holds no state: the run starts from the beginning, with %s", t->directory,
             t->from ? ir_arena_printf(c->arena, "the weights of '%s'", t->from)
                     : "random weights");
    return CLI_DONE;
}

/* Which directory it is, whether it holds the run already, and whose weights the run begins with.
 */
static int find_run(cli_training *t) {
    cli *c = t->c;
    const cli_options *o = c->options;
    t->directory = o->out ? o->out : ir_arena_printf(c->arena, "runs/%s", t->facts.model);
    t->from = o->from;
    t->resumes = cli_run_exists(t);
    if (!o->resume && t->resumes)
        return cli_fail(
            c, CLI_USER_ERROR,
            "'%s' holds a run already; --resume continues it, --out names another place",
            t->directory);
    if (!o->resume) return CLI_DONE;
    return t->resumes ? cli_run_check(t) : find_beginning(t);
}

/* What init runs on; the state of a run that goes on replaces it. */
static int first_weights(cli_training *t) {
    const char *from = t->from;
    if (t->resumes || !from) return cli_weights_start(t->c, &t->step, t->seed, &t->first);
    if (is_directory(from)) from = ir_arena_printf(t->c->arena, "%s/last.safetensors", from);
    if (t->c->options->command == CLI_COMMAND_finetune)
        return cli_weights_load_encoder(t->c, &t->step, from, &t->first);
    return cli_weights_load(t->c, &t->step, from, &t->first);
}

/* A negative mask asks the step for a random one. */
static int ask_for_masks(cli_training *t) {
    cli_program_ask(cli_program_io(&t->step, "mask"));
    t->label = calloc((size_t)t->step.batch, sizeof *t->label);
    return t->label ? CLI_DONE : cli_fail(t->c, CLI_RUN_FAILED, "out of memory for the labels");
}

/* The state before the first step of this process. */
static int begin(cli_training *t) {
    int code = cli_weights_init(t->c, &t->step, &t->first);
    cli_weights_free(&t->first);
    if (code != CLI_DONE) return code;
    if (!t->resumes) return cli_run_save(t);
    code = cli_run_resume(t);
    if (code == CLI_DONE)
        cli_note(t->c, "resuming '%s' after %lld epochs and %lld steps", t->directory,
                 (long long)t->at.epoch, (long long)t->at.batch);
    return code;
}

/* All that can go wrong at once. */
static int check(cli_training *t) {
    int code = plan_step(t);
    if (code == CLI_DONE) code = cli_training_open_data(t);
    if (code == CLI_DONE) code = find_run(t);
    if (code == CLI_DONE && t->test_data) code = plan_test(t);
    if (code == CLI_DONE) code = check_memory(t);
    if (code == CLI_DONE) code = cli_training_start_loaders(t);
    if (code == CLI_DONE) code = first_weights(t);
    if (code == CLI_DONE && !t->resumes) code = cli_run_create(t);
    return code;
}

/* Machine code takes a while. */
static int prepare(cli_training *t) {
    int code = check(t);
    if (code != CLI_DONE) return code;
    set_schedule(t);
    t->weights = malloc((size_t)t->step.plan->weights_elements * sizeof *t->weights + 1);
    if (!t->weights) return cli_fail(t->c, CLI_RUN_FAILED, "out of memory for the weights");
    code = build(t, &t->step);
    if (code == CLI_DONE && t->test_data) code = build(t, &t->test);
    if (code == CLI_DONE && t->masked) code = ask_for_masks(t);
    return code == CLI_DONE ? begin(t) : code;
}

static void introduce(const cli_training *t) {
    const char *classes =
        ir_arena_printf(t->c->arena, " of %lld classes", (long long)t->facts.classes);
    cli_note(t->c,
             "training '%s': %lld parameters, %lld images%s, %lld epochs of "
             "%lld steps, batch %lld, %lld thread%s, %s",
             t->facts.model, (long long)t->step.plan->weights_elements,
             (long long)rt_data_count(t->data), t->masked ? "" : classes,
             (long long)t->step.recipe.epochs, (long long)t->steps, (long long)t->step.batch,
             (long long)t->step.threads, t->step.threads == 1 ? "" : "s",
             t->step.target->facts.name);
}

static void release(cli_training *t) {
    if (t->loader) rt_loader_free(t->loader);
    if (t->test_loader) rt_loader_free(t->test_loader);
    if (t->data) rt_data_close(t->data);
    if (t->test_data) rt_data_close(t->test_data);
    cli_weights_free(&t->first);
    free(t->weights);
    free(t->label);
    cli_program_free(&t->step);
    cli_program_free(&t->test);
    if (t->lock >= 0) close(t->lock);
}

static int train(cli *c) {
    cli_training t = {.c = c, .lock = -1, .at = {.best = -INFINITY}};
    rt_signal_watch();
    int code = prepare(&t);
    if (code == CLI_DONE) {
        introduce(&t);
        code = cli_training_run(&t);
    }
    if (code == CLI_DONE) cli_note(c, "done: %s", cli_run_file(&t, "last.safetensors"));
    release(&t);
    return code;
}

int cli_train(cli *c) {
    return train(c);
}

int cli_pretrain(cli *c) {
    return train(c);
}

int cli_finetune(cli *c) {
    return train(c);
}
