/* Learning rates by layer, for fine-tuning: layers near the input, which know the most, move the
 * least; and what else a recipe decides about single parameters. Layer `id` of n + 1 learns at
 * decay^(n - id) of the rate.
 *
 * single: the stem and every block are layers; a downsample belongs to the block behind it. The
 *         stem shares its number with the first block.
 * group:  thirteen layers, as for depths 3, 3, 27, 3 (ConvNeXt Base to Huge): the stem; stage 0;
 * the downsample before stage 1 with it; the one before stage 2; stage 2 in groups of three blocks;
 * stage 3 with its downsample; the head.
 */
#include "fe_compile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_STAGES = 64, HEAD = -1, STEM = -2, DOWNSAMPLE = -3 };

/* Where a parameter stands: a stage and one of its blocks, or one of the words above. */
typedef struct place {
    int stage, block;
} place;

static place place_of(const char *name) {
    int stage, block, end = 0;
    if (strncmp(name, "stem.", 5) == 0) return (place){0, STEM};
    if (sscanf(name, "stages.%d.blocks.%d.%n", &stage, &block, &end) == 2 && end > 0)
        return (place){stage, block};
    if (sscanf(name, "stages.%d.downsample.%n", &stage, &end) == 1 && end > 0)
        return (place){stage, DOWNSAMPLE};
    return (place){0, HEAD};
}

typedef struct layers {
    int stages, depth[MAX_STAGES], sum;
} layers;

static bool find_layers(const ir_graph *graph, layers *out, ir_diag *diag) {
    *out = (layers){0};
    for (size_t i = 0; i < graph->count; i++) {
        if (graph->nodes[i].op != IR_OP_param) continue;
        place at = place_of(graph->nodes[i].name);
        if (at.block < 0) continue;
        if (at.stage < 0 || at.stage >= MAX_STAGES)
            return ir_error(diag, (ir_loc){0}, "'%s' is in stage %d, expected 0 to %d",
                            graph->nodes[i].name, at.stage, MAX_STAGES - 1);
        if (at.stage >= out->stages) out->stages = at.stage + 1;
        if (at.block >= out->depth[at.stage]) out->depth[at.stage] = at.block + 1;
    }
    for (int s = 0; s < out->stages; s++)
        out->sum += out->depth[s];
    if (out->sum > 0) return true;
    return ir_error(diag, (ir_loc){0},
                    "'layer_decay' needs parameters called stages.S.blocks.B, '%s' has none",
                    graph->name);
}

static int single_layer(const layers *l, place at) {
    int id = 1;
    if (at.block == HEAD) return l->sum + 1;
    for (int s = 0; s < at.stage; s++)
        id += l->depth[s];
    return at.block > 0 ? id + at.block : id;
}

static int group_layer(place at) {
    enum { LAST = 12 };
    if (at.block == HEAD) return LAST + 1;
    if (at.block == STEM) return 0;
    switch (at.stage) {
    case 0: return 1;
    case 1: return 2;
    case 2: return at.block == DOWNSAMPLE ? 3 : 3 + at.block / 3;
    }
    return LAST;
}

static bool check_groups(const layers *l, ir_diag *diag) {
    enum { STAGES = 4, MOST = 27 };
    if (l->stages == STAGES && l->depth[2] <= MOST) return true;
    return ir_error(diag, (ir_loc){0},
                    "'layer_decay_kind' group is for %d stages with up to %d blocks in stage 2, "
                    "found %d stages with %d blocks in stage 2",
                    STAGES, MOST, l->stages, l->depth[2]);
}

/* What a recipe asks for and the model has nothing to do it to. */
static bool check_unused(const fe_recipe *recipe, bool has_head, bool has_grn, ir_diag *diag) {
    size_t errors = diag->errors;
    bool asks_group = strcmp(recipe->layer_decay_kind, "group") == 0 &&
                      strcmp(recipe->origin[FE_FIELD_layer_decay_kind], "-D") == 0;
    if (recipe->head_init != 1 && !has_head)
        fe_recipe_unused(recipe, FE_FIELD_head_init, "the model has no parameter head.fc.weight",
                         diag);
    if (strcmp(recipe->grn_decay, "yes") == 0 && !has_grn)
        fe_recipe_unused(recipe, FE_FIELD_grn_decay, "the model has no parameters called mlp.grn",
                         diag);
    if (recipe->layer_decay == 1 && asks_group)
        fe_recipe_unused(recipe, FE_FIELD_layer_decay_kind, "layer_decay is 1", diag);
    return diag->errors == errors;
}

bool fe_fine_tune(ir_graph *graph, const fe_recipe *recipe, ir_diag *diag) {
    bool group = strcmp(recipe->layer_decay_kind, "group") == 0;
    bool decays_grn = strcmp(recipe->grn_decay, "yes") == 0, has_head = false, has_grn = false;
    layers l = {0};
    if (recipe->layer_decay < 1 && !find_layers(graph, &l, diag)) return false;
    if (recipe->layer_decay < 1 && group && !check_groups(&l, diag)) return false;
    for (size_t i = 0; i < graph->count; i++) {
        ir_node *node = &graph->nodes[i];
        if (node->op != IR_OP_param) continue;
        bool head = strcmp(node->name, "head.fc.weight") == 0;
        bool grn = strstr(node->name, ".mlp.grn.") != NULL;
        has_head |= head;
        has_grn |= grn;
        if (head) node->attrs.std *= recipe->head_init;
        if (grn && decays_grn) node->attrs.decay = -1;
        if (!(recipe->layer_decay < 1)) continue;
        place at = place_of(node->name);
        int steps = group ? 13 - group_layer(at) : l.sum + 1 - single_layer(&l, at);
        node->attrs.lr_scale = pow(recipe->layer_decay, steps);
    }
    return check_unused(recipe, has_head, has_grn, diag);
}
