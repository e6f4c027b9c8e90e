/* The first stage of a program: a .cnx or .cnxir file to a graph that went through all passes. */
#include "program.h"

#include "progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *cli_kind_name(ir_kind kind) {
    switch (kind) {
    case IR_KIND_INFER: return "infer";
    case IR_KIND_GRAD: return "grad";
    case IR_KIND_TRAIN: return "train";
    }
    return "";
}

bool cli_is_graph_file(const char *path) {
    size_t length = strlen(path), tail = strlen(".cnxir");
    return length > tail && strcmp(path + length - tail, ".cnxir") == 0;
}

/* --- .cnxir --- */

/* What belongs to the language or to graph passes has no meaning for a finished graph. */
static int check_graph_options(cli *c) {
    static const cli_option unused[] = {CLI_OPTION_define, CLI_OPTION_recipe, CLI_OPTION_stop_after,
                                        CLI_OPTION_densify};
    static const char *const names[] = {"-D", "--recipe", "--stop-after", "--densify"};
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i++)
        if (cli_given(c->options, unused[i]))
            return cli_wrong_usage(c->options->command,
                                   "%s has no effect on '%s': a .cnxir file is a finished graph",
                                   names[i], c->options->model);
    return CLI_DONE;
}

static int parse_graph(cli *c, const cli_want *want, cli_program *p) {
    const char *why, *path = c->options->model;
    ir_source *source = ir_arena_alloc(c->diag->arena, sizeof *source);
    source->file = path;
    source->text = cli_read_text(c->diag->arena, path, &why);
    if (!source->text) return cli_fail(c, CLI_USER_ERROR, "%s", why);
    p->graph = ir_graph_parse(source, c->diag);
    if (!p->graph || !ir_verify(p->graph, c->diag)) return cli_fail_diag(c);
    if (p->graph->kind != want->kind && !want->any_kind)
        return cli_wrong_usage(c->options->command, "'%s' is a graph of kind %s; expected %s", path,
                               cli_kind_name(p->graph->kind), cli_kind_name(want->kind));
    int64_t batch = ir_graph_batch(p->graph);
    bool given = cli_given(c->options, CLI_OPTION_batch);
    if (given && c->options->batch != batch)
        return cli_wrong_usage(c->options->command, "--batch is %lld, but '%s' is for batch %lld",
                               (long long)c->options->batch, path, (long long)batch);
    if (want->fixed_batch && batch != want->batch)
        return cli_fail(c, CLI_USER_ERROR, "'%s' is for batch %lld, but the inputs hold %lld", path,
                        (long long)batch, (long long)want->batch);
    p->batch = batch;
    return CLI_DONE;
}

/* --- .cnx --- */

static fe_define *read_defines(cli *c) {
    const cli_list *list = &c->options->define;
    fe_define *defines = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *defines);
    for (size_t i = 0; i < list->count; i++) {
        const char *equals = strchr(list->item[i], '=');
        size_t length = (size_t)(equals - list->item[i]);
        defines[i].name = ir_arena_strndup(c->arena, list->item[i], length);
        defines[i].value = equals + 1;
    }
    return defines;
}

/* The recipe that a command is for. */
static const char *usual_recipe(cli_command command) {
    if (command == CLI_COMMAND_pretrain) return "pretrain";
    return command == CLI_COMMAND_finetune ? "finetune" : NULL;
}

fe_options cli_fe_options(cli *c, const cli_want *want) {
    const cli_options *o = c->options;
    fe_options options = {.kind = want->kind,
                          .batch = want->batch,
                          .random = want->random,
                          .plain_loss = want->plain_loss && !o->recipe,
                          .recipe = o->recipe,
                          .usual = usual_recipe(o->command),
                          .defines = read_defines(c),
                          .define_count = o->define.count};
    if (cli_given(o, CLI_OPTION_batch)) options.batch = o->batch;
    if (cli_given(o, CLI_OPTION_seed)) options.seed = &o->seed;
    return options;
}

fe_model *cli_load_model(cli *c) {
    const char *path = cli_find_model(c->arena, c->options->model);
    return fe_load(path, cli_model_directories(c->arena), c->diag);
}

/* Of a training step an object file gives the loss alone. */
static void keep_loss_only(ir_graph *graph) {
    size_t kept = 0;
    for (size_t i = 0; i < graph->output_count; i++)
        if (strcmp(graph->outputs[i].name, "loss") == 0) graph->outputs[kept++] = graph->outputs[i];
    graph->output_count = kept;
}

static uint64_t hash_of(const ir_graph *graph) {
    ir_text text = {0};
    ir_graph_print(graph, &text);
    uint64_t hash = ir_hash(IR_HASH_SEED, text.data, text.length);
    ir_text_free(&text);
    return hash;
}

static int elaborate(cli *c, const cli_want *want, cli_program *p) {
    fe_model *model = cli_load_model(c);
    fe_options options = cli_fe_options(c, want);
    bool good = model && fe_resolve_recipe(model, &options, &p->recipe, c->diag);
    if (good) p->graph = fe_elaborate(model, &options, c->diag);
    fe_model_free(model);
    if (!p->graph) return cli_fail_diag(c);
    if (want->kind == IR_KIND_TRAIN && !fe_fine_tune(p->graph, &p->recipe, c->diag))
        return cli_fail_diag(c);
    p->source_hash = hash_of(p->graph);
    if (want->loss_only && want->kind == IR_KIND_TRAIN) keep_loss_only(p->graph);
    p->batch = ir_graph_batch(p->graph);
    if (want->fixed_batch && p->batch != want->batch)
        return cli_wrong_usage(c->options->command, "--batch is %lld, but the inputs hold %lld",
                               (long long)p->batch, (long long)want->batch);
    return CLI_DONE;
}

/* --- passes --- */

/* "cse.2" is the second run of cse. */
static bool is_pass(const char *name) {
    char base[64];
    size_t length = strcspn(name, ".");
    if (length >= sizeof base) return false;
    memcpy(base, name, length);
    base[length] = 0;
    return pass_find(base) != NULL;
}

static int unknown_pass(cli *c, const char *option, const char *name) {
    const char *names[256];
    size_t count = 0;
    for (size_t i = 0; i < pass_count() && count < 200; i++)
        names[count++] = pass_get(i)->name;
    for (size_t i = 0; i < pass_lower_pass_count() && count < 256; i++)
        names[count++] = pass_lower_pass_name(i);
    const char *near = ir_nearest(name, names, count);
    if (!near)
        return cli_wrong_usage(c->options->command, "%s: there is no pass '%s'", option, name);
    return cli_wrong_usage(c->options->command,
                           "%s: there is no pass '%s'\nhint: did you mean '%s'?", option, name,
                           near);
}

static bool is_lower_pass(const char *name) {
    for (size_t i = 0; i < pass_lower_pass_count(); i++)
        if (strcmp(pass_lower_pass_name(i), name) == 0) return true;
    return false;
}

/* --no-pass names graph passes and passes of lowering; each stage gets its own. */
static int split_disabled(cli *c, cli_program *p) {
    const cli_list *list = &c->options->no_pass;
    p->disabled = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->disabled);
    p->lower_disabled = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->lower_disabled);
    size_t graph = 0, lower = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->item[i];
        const pass_info *info = pass_find(name);
        if (info && info->need == PASS_REQUIRED)
            return cli_wrong_usage(c->options->command, "--no-pass: '%s' cannot be left out: %s",
                                   name, info->doc);
        if (info)
            p->disabled[graph++] = name;
        else if (is_lower_pass(name))
            p->lower_disabled[lower++] = name;
        else
            return unknown_pass(c, "--no-pass", name);
    }
    return CLI_DONE;
}

/* --dump-after likewise; `all` is for both. */
static int split_dumps(cli *c, cli_program *p) {
    const cli_list *list = &c->options->dump_after;
    p->dump_after = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->dump_after);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->item[i];
        bool all = strcmp(name, "all") == 0, lower = is_lower_pass(name);
        if (!all && !lower && !is_pass(name)) return unknown_pass(c, "--dump-after", name);
        if (all || lower) p->dump_lowering = true;
        if (lower) continue;
        if (p->from_graph && !all)
            return cli_wrong_usage(c->options->command,
                                   "--dump-after %s: a .cnxir file goes through no graph pass",
                                   name);
        p->dump_after[count++] = name;
    }
    return CLI_DONE;
}

static int check_passes(cli *c, cli_program *p) {
    const char *stop = c->options->stop_after;
    if (stop && !is_pass(stop)) return unknown_pass(c, "--stop-after", stop);
    int code = split_disabled(c, p);
    return code == CLI_DONE ? split_dumps(c, p) : code;
}

static pass_optimizer_options optimizer_of(const fe_recipe *recipe) {
    return (pass_optimizer_options){.beta1 = recipe->betas[0],
                                    .beta2 = recipe->betas[1],
                                    .eps = recipe->eps,
                                    .weight_decay = recipe->weight_decay,
                                    .clip_norm = recipe->clip_norm};
}

/* The reference goes the shortest way: only what a program cannot do without. */
static const char **optional_passes(ir_arena *arena) {
    const char **names = ir_arena_alloc(arena, (pass_count() + 1) * sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < pass_count(); i++)
        if (pass_get(i)->need == PASS_OPTIONAL) names[count++] = pass_get(i)->name;
    return names;
}

static int run_passes(cli *c, const cli_want *want, cli_program *p) {
    const cli_options *o = c->options;
    if (want->reference) p->disabled = optional_passes(c->arena);
    pass_options options = {.optimizer = optimizer_of(&p->recipe),
                            .densify = o->densify,
                            .disabled = p->disabled,
                            .dump_after = p->dump_after,
                            .stop_after = o->stop_after,
                            .time_file = o->time_passes ? stderr : NULL};
    ir_graph *ready = pass_run(p->graph, &options, c->diag);
    if (!ready) return cli_fail_diag(c);
    if (want->keep_source)
        p->source = p->graph;
    else
        ir_graph_free(p->graph);
    p->graph = ready;
    return CLI_DONE;
}

int cli_program_graph(cli *c, const cli_want *want, cli_program *p) {
    p->started = cli_seconds();
    p->from_graph = cli_is_graph_file(c->options->model);
    int code = check_passes(c, p);
    if (p->from_graph) {
        if (code == CLI_DONE) code = check_graph_options(c);
        return code == CLI_DONE ? parse_graph(c, want, p) : code;
    }
    if (code == CLI_DONE) code = elaborate(c, want, p);
    if (code == CLI_DONE && !want->source_only) code = run_passes(c, want, p);
    return code;
}
