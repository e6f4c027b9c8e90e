#include "object_facts.h"

#include <string.h>

/* What predict takes from the metadata of the weights, which it counts more than the model's. */
static int take_facts(cli *c, const cli_program *p, const rt_tensors *file,
                      cg_object_options *options) {
    const ir_plan *plan = p->plan;
    cli_facts facts;
    size_t count = 0, n = 0;
    int code = cli_facts_of(c, p, &facts);
    if (code == CLI_DONE) code = cli_facts_update(c, c->options->weights, file, &facts);
    if (code != CLI_DONE) return code;
    rt_pair *pairs = cli_facts_pairs(c, &facts, &count);
    ir_text names = {0};
    for (int64_t i = 0; facts.class_names && i < facts.classes; i++)
        ir_text_printf(&names, "%s%s", i ? "\n" : "", facts.class_names[i]);
    ir_meta *metas = ir_arena_alloc(c->arena, (plan->meta_count + count + 2) * sizeof *metas);
    metas[n++] = (ir_meta){"classes", ir_arena_printf(c->arena, "%lld", (long long)facts.classes)};
    if (names.length)
        metas[n++] = (ir_meta){"class_names", ir_arena_strndup(c->arena, names.data, names.length)};
    ir_text_free(&names);
    for (size_t i = 0; i < count; i++)
        metas[n++] = (ir_meta){pairs[i].key, pairs[i].value};
    for (size_t i = 0; i < plan->meta_count; i++)
        metas[n++] = plan->metas[i];
    options->metas = metas;
    options->meta_count = n;
    return CLI_DONE;
}

/* Whether predict could run it: one input, an image, and logits. */
static bool classifies(const ir_plan *plan) {
    const ir_buffer *image = ir_plan_buffer(plan, IR_BUFFER_INPUT, "image");
    const ir_buffer *logits = ir_plan_buffer(plan, IR_BUFFER_OUTPUT, "logits");
    size_t inputs = 0;
    for (size_t i = 0; i < plan->buffer_count; i++)
        inputs += plan->buffers[i].class == IR_BUFFER_INPUT;
    if (inputs != 1 || !image || !logits || image->type.rank != 4 || logits->type.rank != 2)
        return false;
    const int64_t *dim = image->type.dim;
    return image->type.dtype == IR_F32 && (dim[1] == 1 || dim[1] == 3) && dim[2] == dim[3] &&
           logits->type.dim[0] == dim[0];
}

/* Labels of a training step are below the classes of the op that reads them. */
static int64_t label_classes(const ir_graph *graph) {
    for (size_t i = 0; i < graph->count; i++) {
        const ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_one_hot) continue;
        const char *name = ir_at(graph, node->operand[0])->name;
        if (name && strcmp(name, "label") == 0) return node->attrs.classes;
    }
    return 0;
}

/* As the recipe writes it; what has no effect is left out. */
static const char *update_of(cli *c, const cli_program *p) {
    const fe_recipe *r = &p->recipe;
    if (p->from_graph || p->plan->kind != IR_KIND_TRAIN) return NULL;
    ir_text text = {0};
    ir_text_printf(&text, "recipe %s: %s(betas = [%g, %g], eps = %g, weight_decay = %g)", r->name,
                   r->optimizer, r->betas[0], r->betas[1], r->eps, r->weight_decay);
    if (r->clip_norm > 0) ir_text_printf(&text, ", clip_norm = %g", r->clip_norm);
    if (r->layer_decay < 1) ir_text_printf(&text, ", layer_decay = %g", r->layer_decay);
    if (strcmp(r->grn_decay, "yes") == 0) ir_text_printf(&text, ", grn_decay = yes");
    const char *copy = ir_arena_strndup(c->arena, text.data, text.length);
    ir_text_free(&text);
    return copy;
}

int cli_object_facts(cli *c, const cli_program *p, const cli_weights *weights,
                     cg_object_options *options) {
    options->classes = label_classes(p->graph);
    options->update = update_of(c, p);
    if (!weights || !classifies(p->plan)) return CLI_DONE;
    return take_facts(c, p, weights->file, options);
}
