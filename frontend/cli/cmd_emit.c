/* cnxc MODEL --emit-...: one stage of the compilation as text, or as an object file with its
 * header. */
#include "cg_header.h"
#include "object_facts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- which options a stage uses --- */

/* An option that the stage comes too early for is a mistake of the user. */
static int check_options(cli *c) {
    const cli_options *o = c->options;
    uint64_t late = CLI_BIT(target);
    if (!o->emit_ast && !o->emit_ir && !o->emit_plan) return CLI_DONE;
    if (o->emit_ast || o->emit_ir) late |= CLI_BIT(cpu) | CLI_BIT(threads);
    if (o->emit_ast)
        late |= CLI_BIT(infer) | CLI_BIT(train) | CLI_BIT(recipe) | CLI_BIT(define) |
                CLI_BIT(batch) | CLI_BIT(dump_after) | CLI_BIT(time_passes) | CLI_BIT(densify) |
                CLI_BIT(no_pass);
    const char *stage = o->emit_ast ? "--emit-ast" : o->emit_ir ? "--emit-ir" : "--emit-plan";
    return cli_refuse(c, late, stage);
}

/* --- texts --- */

static int emit_ast(cli *c) {
    if (cli_is_graph_file(c->options->model))
        return cli_wrong_usage(c, "'%s' is a graph and has no syntax tree", c->options->model);
    fe_model *model = cli_load_model(c);
    if (!model) return cli_fail_diag(c);
    ir_text out = {0};
    fe_print_ast(model, &out);
    fe_model_free(model);
    int code = cli_write_text(c, c->options->output, &out);
    ir_text_free(&out);
    return code;
}

static int emit_text(cli *c, cli_program *p) {
    const cli_options *o = c->options;
    ir_text out = {0};
    int code = CLI_DONE;
    if (o->emit_ir) {
        ir_graph_print(p->graph, &out);
    } else if (o->emit_plan) {
        ir_plan_print(p->plan, &out);
    } else {
        cg_object_options options = {.prefix = "cnx", .machine = p->target, .triple = o->target};
        cg_form form = o->emit_llvm ? CG_FORM_LLVM : CG_FORM_ASSEMBLY;
        if (!cg_object_emit(p->plan, &options, form, &out, c->diag)) code = cli_fail_diag(c);
    }
    if (code == CLI_DONE) code = cli_write_text(c, o->output, &out);
    ir_text_free(&out);
    return code;
}

/* --- object and header --- */

static const char *default_name(cli *c, const cli_program *p) {
    switch (p->plan->kind) {
    case IR_KIND_INFER: return ir_arena_printf(c->arena, "%s.o", p->plan->name);
    case IR_KIND_GRAD: return ir_arena_printf(c->arena, "%s_grad.o", p->plan->name);
    case IR_KIND_TRAIN: return ir_arena_printf(c->arena, "%s_train.o", p->plan->name);
    }
    return NULL;
}

/* The path without its last extension: "out/net.o" is "out/net". */
static const char *stem_of(ir_arena *arena, const char *path) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!dot || dot == path || (slash && dot <= slash + 1)) return path;
    return ir_arena_strndup(arena, path, (size_t)(dot - path));
}

/* A C identifier made of the file's name: what no name may hold becomes '_'. */
static const char *prefix_of(ir_arena *arena, const char *stem) {
    const char *slash = strrchr(stem, '/'), *base = slash ? slash + 1 : stem;
    bool digit = isdigit((unsigned char)*base) || !*base;
    char *prefix = ir_arena_printf(arena, "%s%s", digit ? "_" : "", base);
    for (char *p = prefix; *p; p++)
        if (!isalnum((unsigned char)*p)) *p = '_';
    return prefix;
}

static int write_object(cli *c, const cli_program *p, const cli_weights *weights) {
    const char *path = c->options->output ? c->options->output : default_name(c, p);
    const char *stem = stem_of(c->arena, path);
    const char *header_path = ir_arena_printf(c->arena, "%s.h", stem);
    if (strcmp(path, header_path) == 0)
        return cli_wrong_usage(c, "-o is '%s'; expected an object, since the header gets this name",
                               path);
    cg_object_options options = {.prefix = prefix_of(c->arena, stem),
                                 .machine = p->target,
                                 .triple = c->options->target,
                                 .weights = weights ? weights->values : NULL};
    ir_text object = {0}, header = {0};
    int code = cli_object_facts(c, p, weights, &options);
    if (code == CLI_DONE && !cg_object_emit(p->plan, &options, CG_FORM_OBJECT, &object, c->diag))
        code = cli_fail_diag(c);
    if (code == CLI_DONE) {
        cg_header_print(p->plan, &options, &header);
        const cli_file files[] = {{path, &object}, {header_path, &header}};
        code = cli_write_files(c, files, 2);
    }
    if (code == CLI_DONE) cli_note(c, "wrote %s and %s", path, header_path);
    ir_text_free(&object);
    ir_text_free(&header);
    return code;
}

static int emit_object(cli *c, cli_program *p) {
    if (!c->options->weights) return write_object(c, p, NULL);
    if (p->plan->kind != IR_KIND_INFER)
        return cli_wrong_usage(c, "--weights are embedded in inference objects only");
    cli_weights weights;
    int code = cli_weights_load(c, p, c->options->weights, &weights);
    if (code == CLI_DONE) code = cli_weights_gather(c, p, &weights);
    if (code == CLI_DONE) code = write_object(c, p, &weights);
    cli_weights_free(&weights);
    return code;
}

int cli_emit(cli *c) {
    const cli_options *o = c->options;
    int code = check_options(c);
    if (code != CLI_DONE) return code;
    if (o->emit_ast) return emit_ast(c);
    cli_program p = {0};
    cli_want want = {.kind = o->train ? IR_KIND_TRAIN : IR_KIND_INFER,
                     .any_kind = !o->train && !o->infer,
                     .random = o->train,
                     .loss_only = true,
                     .graph_only = o->emit_ir};
    code = cli_program_graph(c, &want, &p);
    if (code == CLI_DONE && !o->emit_ir) code = cli_program_plan(c, &p);
    if (code == CLI_DONE) code = o->emit_obj ? emit_object(c, &p) : emit_text(c, &p);
    cli_program_free(&p);
    return code;
}
