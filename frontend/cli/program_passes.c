/* The graph passes of a program, and the options that name passes: --no-pass, --dump-after,
 * --stop-after, --time-passes, --densify. Graph passes have rows in passes.def, passes of lowering
 * in lower_passes.def. Which of them run follows from the command, the kind of the program and
 * whether it comes as a .cnxir file; an option that is about none of these is wrong usage. */
#include "program.h"

#include <string.h>

static int unknown_pass(cli *c, const char *option, const char *name) {
    const char *names[256];
    size_t count = 0;
    for (size_t i = 0; i < pass_count() && count < 200; i++)
        names[count++] = pass_get(i)->name;
    for (size_t i = 0; i < pass_lower_count() && count < 256; i++)
        names[count++] = pass_lower_get(i)->name;
    const char *near = ir_nearest(name, names, count);
    if (!near) return cli_wrong_usage(c, "%s: there is no pass '%s'", option, name);
    return cli_wrong_usage(c, "%s: there is no pass '%s'\nhint: did you mean '%s'?", option, name,
                           near);
}

/* Which passes options may name. */
typedef struct pass_scope {
    cli *c;
    bool graph, lowering; /* passes of these run */
    bool second;          /* names of graph passes that do not run are passed over */
    ir_kind kind;
    pass_options options; /* stop_after, densify, disabled */
} pass_scope;

static int no_lowering(const pass_scope *s, const char *option, const char *name) {
    return cli_wrong_usage(s->c, "%s %s has no effect on --emit-ir, which ends before lowering",
                           option, name);
}

/* A run of a graph pass, such as cse or cse.2; *takes_place says whether it is one. */
static int check_run(const pass_scope *s, const char *option, const char *name, bool *takes_place) {
    int code = CLI_DONE;
    ir_text why = {0};
    *takes_place = false;
    if (!s->graph)
        return cli_wrong_usage(s->c, "%s %s: a .cnxir file goes through no graph pass", option,
                               name);
    *takes_place = pass_takes_place(name, s->kind, &s->options, &why);
    if (!*takes_place && !s->second)
        code = cli_wrong_usage(s->c, "%s %s: %s", option, name, why.data);
    ir_text_free(&why);
    return code;
}

/* --no-pass names graph passes and passes of lowering; each stage gets its own. */
static int split_disabled(const pass_scope *s, cli_program *p) {
    cli *c = s->c;
    const cli_list *list = &c->options->no_pass;
    p->disabled = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->disabled);
    p->lower_disabled = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->lower_disabled);
    size_t graph = 0, lower = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->item[i];
        const pass_info *info = pass_find(name);
        if (!info && !pass_lower_find(name)) return unknown_pass(c, "--no-pass", name);
        if (!info) {
            if (!s->lowering) return no_lowering(s, "--no-pass", name);
            p->lower_disabled[lower++] = name;
            continue;
        }
        if (info->need == PASS_REQUIRED)
            return cli_wrong_usage(c, "--no-pass: '%s' cannot be left out: %s", name, info->doc);
        bool takes_place;
        int code = check_run(s, "--no-pass", name, &takes_place);
        if (code != CLI_DONE) return code;
        if (takes_place) p->disabled[graph++] = name;
    }
    return CLI_DONE;
}

static int check_lower_dump(const pass_scope *s, const cli_program *p,
                            const pass_lower_info *pass) {
    if (!s->lowering) return no_lowering(s, "--dump-after", pass->name);
    if (!pass->fuses)
        return cli_wrong_usage(s->c,
                               "--dump-after %s: there is nothing to print after this pass of "
                               "lowering; expected a graph pass, fuse_* or all",
                               pass->name);
    for (const char **name = p->lower_disabled; *name; name++)
        if (strcmp(*name, pass->name) == 0)
            return cli_wrong_usage(s->c, "--dump-after %s: pass '%s' is disabled", pass->name,
                                   pass->name);
    return CLI_DONE;
}

/* --dump-after likewise; `all` is for both. */
static int split_dumps(const pass_scope *s, cli_program *p) {
    cli *c = s->c;
    const cli_list *list = &c->options->dump_after;
    p->dump_after = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->dump_after);
    p->lower_dump_after = ir_arena_alloc(c->arena, (list->count + 1) * sizeof *p->lower_dump_after);
    size_t graph = 0, lower = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->item[i];
        const pass_lower_info *lower_pass = pass_lower_find(name);
        bool all = strcmp(name, "all") == 0, takes_place = all;
        int code = CLI_DONE;
        if (lower_pass)
            code = check_lower_dump(s, p, lower_pass);
        else if (!all && !pass_find_run(name))
            code = unknown_pass(c, "--dump-after", name);
        else if (!all)
            code = check_run(s, "--dump-after", name, &takes_place);
        if (code != CLI_DONE) return code;
        if (takes_place) p->dump_after[graph++] = name;
        if (all || lower_pass) p->lower_dump_after[lower++] = name;
    }
    return CLI_DONE;
}

static int check_stop(const pass_scope *s) {
    const char *name = s->options.stop_after;
    pass_scope whole = *s;
    bool takes_place;
    if (!name) return CLI_DONE;
    if (!pass_find_run(name)) return unknown_pass(s->c, "--stop-after", name);
    whole.options.stop_after = NULL;
    return check_run(&whole, "--stop-after", name, &takes_place);
}

/* A graph from a file that ends as a graph. */
static int check_any(const pass_scope *s) {
    const cli_options *o = s->c->options;
    bool all = false;
    for (size_t i = 0; i < o->dump_after.count; i++)
        all |= strcmp(o->dump_after.item[i], "all") == 0;
    if (s->graph || s->lowering || (!all && !o->time_passes)) return CLI_DONE;
    return cli_wrong_usage(s->c, "%s has no effect on '%s' with --emit-ir: no pass runs",
                           all ? "--dump-after all" : "--time-passes", o->model);
}

/* The reference goes the shortest way: only what a program cannot do without. */
static const char **optional_passes(ir_arena *arena) {
    const char **names = ir_arena_alloc(arena, (pass_count() + 1) * sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < pass_count(); i++)
        if (pass_get(i)->need == PASS_OPTIONAL) names[count++] = pass_get(i)->name;
    return names;
}

int cli_check_passes(cli *c, const cli_want *want, cli_program *p) {
    pass_scope s = {
        .c = c,
        .graph = !p->from_graph,
        .lowering = !want->graph_only,
        .second = want->second,
        .kind = want->kind,
        .options = {.densify = c->options->densify, .stop_after = c->options->stop_after}};
    int code = check_any(&s);
    if (code == CLI_DONE) code = split_disabled(&s, p);
    if (want->reference) p->disabled = optional_passes(c->arena);
    s.options.disabled = p->disabled;
    if (code == CLI_DONE) code = check_stop(&s);
    return code == CLI_DONE ? split_dumps(&s, p) : code;
}

/* --- running --- */

static pass_optimizer_options optimizer_of(const fe_recipe *recipe) {
    return (pass_optimizer_options){.beta1 = recipe->betas[0],
                                    .beta2 = recipe->betas[1],
                                    .eps = recipe->eps,
                                    .weight_decay = recipe->weight_decay,
                                    .clip_norm = recipe->clip_norm};
}

static bool is_sparse(const ir_graph *graph) {
    for (size_t i = 0; i < graph->count; i++)
        if (graph->nodes[i].type.sparsity.kept != 0) return true;
    return false;
}

int cli_run_passes(cli *c, const cli_want *want, cli_program *p) {
    const cli_options *o = c->options;
    if (o->densify && !is_sparse(p->graph))
        return cli_wrong_usage(c, "--densify has no effect on '%s': it has no tile-sparse tensors",
                               o->model);
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
