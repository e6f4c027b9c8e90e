/* The first stage of a program: a .cnx or .cnxir file to a graph that went through all passes. */
#include "program.h"

#include "progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cli_is_graph_file(const char *path) {
    size_t length = strlen(path), tail = strlen(".cnxir");
    return length > tail && strcmp(path + length - tail, ".cnxir") == 0;
}

/* --- .cnxir --- */

/* What belongs to the language or to graph passes has no meaning for a finished graph. */
static int check_graph_options(cli *c) {
    uint64_t early = CLI_BIT(define) | CLI_BIT(recipe) | CLI_BIT(stop_after) | CLI_BIT(densify);
    return cli_refuse(
        c, early,
        ir_arena_printf(c->arena, "'%s': a .cnxir file is a finished graph", c->options->model));
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
        return cli_wrong_usage(c, "'%s' is a graph of kind %s; expected %s", path,
                               ir_kind_names[p->graph->kind], ir_kind_names[want->kind]);
    int64_t batch = ir_graph_batch(p->graph);
    bool given = cli_given(c->options, CLI_OPTION_batch);
    if (given && c->options->batch != batch)
        return cli_wrong_usage(c, "--batch is %lld, but '%s' is for batch %lld",
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

static bool trains(cli_command command) {
    return command == CLI_COMMAND_train || command == CLI_COMMAND_pretrain ||
           command == CLI_COMMAND_finetune;
}

fe_options cli_fe_options(cli *c, const cli_want *want) {
    const cli_options *o = c->options;
    fe_options options = {.kind = want->kind,
                          .batch = want->batch,
                          .random = want->random,
                          .plain_loss = want->plain_loss && !o->recipe,
                          .no_run = !trains(o->command),
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

/* --batch and --seed are fields of the recipe as well, which -D may set to something else. */
static int check_twice(cli *c, const fe_recipe *recipe) {
    const cli_options *o = c->options;
    if (cli_given(o, CLI_OPTION_batch) && recipe->batch != o->batch)
        return cli_wrong_usage(c, "--batch is %lld, but -D batch is %lld", (long long)o->batch,
                               (long long)recipe->batch);
    if (cli_given(o, CLI_OPTION_seed) && recipe->seed != (int64_t)o->seed)
        return cli_wrong_usage(c, "--seed is %llu, but -D seed is %lld",
                               (unsigned long long)o->seed, (long long)recipe->seed);
    return CLI_DONE;
}

static int elaborate(cli *c, const cli_want *want, cli_program *p) {
    fe_model *model = cli_load_model(c);
    fe_options options = cli_fe_options(c, want);
    if (model) p->graph = fe_elaborate(model, &options, &p->recipe, c->diag);
    fe_model_free(model);
    if (!p->graph) return cli_fail_diag(c);
    int code = check_twice(c, &p->recipe);
    if (code != CLI_DONE) return code;
    if (want->kind == IR_KIND_TRAIN && !fe_fine_tune(p->graph, &p->recipe, c->diag))
        return cli_fail_diag(c);
    p->source_hash = hash_of(p->graph);
    if (want->loss_only && want->kind == IR_KIND_TRAIN) keep_loss_only(p->graph);
    p->batch = ir_graph_batch(p->graph);
    if (want->fixed_batch && p->batch != want->batch)
        return cli_wrong_usage(c, "the batch is %lld, but the inputs hold %lld",
                               (long long)p->batch, (long long)want->batch);
    return CLI_DONE;
}

int cli_program_graph(cli *c, const cli_want *want, cli_program *p) {
    p->started = cli_seconds();
    p->from_graph = cli_is_graph_file(c->options->model);
    int code = p->from_graph ? check_graph_options(c) : CLI_DONE;
    if (code == CLI_DONE) code = cli_check_passes(c, want, p);
    if (code != CLI_DONE) return code;
    if (p->from_graph) return parse_graph(c, want, p);
    code = elaborate(c, want, p);
    return code == CLI_DONE && !want->source_only ? cli_run_passes(c, want, p) : code;
}
