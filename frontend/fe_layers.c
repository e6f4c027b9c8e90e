/* Layers: an op together with its parameters, named and initialised as timm does it. */
#include "fe_elab.h"

#include <string.h>

typedef struct layer_call {
    fe_elab *e;
    const fe_expr *call;
    const char *label; /* "stages.0.blocks.1.conv_dw" */
    ir_value x;
    ir_type type; /* of x */
    fe_slots slots;
} layer_call;
typedef fe_value layer(layer_call *c);

enum { MAX_CHANNELS = 1 << 24, MAX_WINDOW = 1 << 16 };

/* ---- parameters ---- */

static bool take_name(fe_elab *e, const char *name) {
    if (e->name_count * 2 >= e->name_capacity) {
        size_t capacity = e->name_capacity ? 2 * e->name_capacity : 256;
        const char **old = e->names;
        size_t old_capacity = e->name_capacity;
        e->names = ir_arena_alloc(e->arena, capacity * sizeof *e->names);
        e->name_capacity = capacity;
        e->name_count = 0;
        for (size_t i = 0; i < old_capacity; i++)
            if (old[i]) take_name(e, old[i]);
    }
    size_t slot = ir_hash(IR_HASH_SEED, name, strlen(name)) & (e->name_capacity - 1);
    for (; e->names[slot]; slot = (slot + 1) & (e->name_capacity - 1))
        if (strcmp(e->names[slot], name) == 0) return false;
    e->names[slot] = ir_arena_strndup(e->arena, name, strlen(name));
    e->name_count++;
    return true;
}

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Vectors and everything called bias, gamma or beta are not decayed (optim_factory.py). */
static bool decays(const char *name, ir_ints shape) {
    return shape.count > 1 && !ends_with(name, ".bias") && !ends_with(name, ".gamma") &&
           !ends_with(name, ".beta");
}

fe_value fe_parameter(fe_elab *e, ir_loc loc, const char *name, ir_ints shape, const char *init,
                      double std) {
    if (!(std >= 0 && std <= 1e6)) return fe_fail(e, loc, "std is %g, expected 0 to 1e6", std);
    if (!take_name(e, name)) {
        fe_fail(e, loc, "the parameter '%s' exists already", name);
        return fe_poison();
    }
    ir_attrs attrs = {.shape = shape,
                      .init = init,
                      .std = std,
                      .lr_scale = 1,
                      .decay = decays(name, shape) ? -1 : 0,
                      .set = IR_SET(shape) | IR_SET(init) | IR_SET(std) | IR_SET(lr_scale) |
                             IR_SET(decay)};
    if (strcmp(init, "zeros") == 0 || strcmp(init, "ones") == 0) { /* nothing to scale */
        attrs.std = 0;
        attrs.set &= ~IR_SET(std);
    }
    return fe_node(e, loc, IR_OP_param, NULL, 0, &attrs, name);
}

static ir_value own_parameter(layer_call *c, const char *suffix, ir_ints shape, const char *init,
                              double std) {
    char name[FE_MAX_LABEL + 16];
    snprintf(name, sizeof name, "%s.%s", c->label, suffix);
    fe_value value = fe_parameter(c->e, c->call->loc, name, shape, init, std);
    return value.kind == FE_VALUE_TENSOR ? value.tensor : IR_NO_VALUE;
}

/* A parameter that gradients leave alone. */
static ir_value own_statistic(layer_call *c, const char *suffix, ir_ints shape, const char *init) {
    ir_value value = own_parameter(c, suffix, shape, init, 0);
    if (!ir_some(value)) return value;
    ir_attrs *attrs = &c->e->graph->nodes[value.id].attrs;
    attrs->trained = false;
    return value;
}

/* ---- arguments ---- */

static int slot_of(const layer_call *c, const char *name) {
    for (int i = 0; i < c->slots.count; i++)
        if (strcmp(c->slots.name[i], name) == 0) return i;
    IR_BUG("layer without argument %s", name);
}

static bool wrong(layer_call *c, int slot, const char *expected) {
    fe_fail(c->e, c->slots.loc[slot], "'%s' of %s is %s, expected %s", c->slots.name[slot],
            c->call->text, fe_describe(c->e->arena, c->slots.value[slot]), expected);
    return false;
}

static bool get_channels(layer_call *c, const char *name, int64_t *out) {
    int slot = slot_of(c, name);
    fe_value value = c->slots.value[slot];
    if (value.kind != FE_VALUE_INT || value.integer < 1 || value.integer > MAX_CHANNELS)
        return wrong(c, slot, "a whole number from 1 to 16777216");
    *out = value.integer;
    return true;
}

static bool get_number(layer_call *c, const char *name, double *out) {
    int slot = slot_of(c, name);
    if (!fe_is_number(c->slots.value[slot])) return wrong(c, slot, "a number");
    *out = fe_number(c->slots.value[slot]);
    return true;
}

static bool get_bool(layer_call *c, const char *name, bool *out) {
    int slot = slot_of(c, name);
    if (c->slots.value[slot].kind != FE_VALUE_BOOL) return wrong(c, slot, "true or false");
    *out = c->slots.value[slot].truth;
    return true;
}

/* Height and width of a window, stride or border. */
static bool get_pair(layer_call *c, const char *name, int64_t least, ir_ints *out) {
    int slot = slot_of(c, name);
    if (!fe_to_ints(c->e, c->slots.loc[slot], name, c->slots.value[slot], 2, out)) return false;
    for (int i = 0; i < 2; i++)
        if (out->item[i] < least || out->item[i] > MAX_WINDOW)
            return wrong(c, slot, least ? "1 to 65536" : "0 to 65536");
    return true;
}

static bool is_sparse(const layer_call *c) {
    return c->type.sparsity.kept != 0;
}

static bool expect_image(layer_call *c) {
    if (c->type.rank == 4 || is_sparse(c)) return true;
    fe_fail(c->e, c->call->args[0].loc, "%s takes a tensor (N,H,W,C), found one of rank %d",
            c->call->text, c->type.rank);
    return false;
}

/* Weight and perhaps bias, then the op over them. */
typedef struct weighted {
    ir_op op;
    ir_ints shape;   /* of the weight */
    int64_t outputs; /* elements of the bias */
    const ir_attrs *attrs;
} weighted;

static fe_value build_weighted(layer_call *c, const weighted *w) {
    bool bias = true;
    double std = 0;
    if (!get_bool(c, "bias", &bias) || !get_number(c, "std", &std)) return fe_poison();
    ir_value operands[4] = {c->x, own_parameter(c, "weight", w->shape, "trunc_normal", std)};
    int count = 2;
    if (w->op == IR_OP_sparse_conv) {
        ir_value table = operands[count++] = ir_sparse_table(c->e->graph, c->x);
        if (!ir_some(table))
            return fe_fail(c->e, c->call->loc,
                           "%s needs to know which tiles are kept, but the tensor was made from "
                           "nothing that gather_tiles gave",
                           c->call->text);
    }
    if (bias) operands[count++] = own_parameter(c, "bias", IR_INTS(w->outputs), "zeros", 0);
    for (int i = 0; i < count; i++)
        if (!ir_some(operands[i])) return fe_poison();
    return fe_node(c->e, c->call->loc, w->op, operands, count, w->attrs, c->label);
}

/* The same convolution on a tile-sparse tensor. Its sites stay what they are, so the border must be
 * that of a window with stride 1, or none for patches. */
static fe_value build_sparse(layer_call *c, weighted w, int64_t groups) {
    const ir_ints *stride = &w.attrs->stride, *pad = &w.attrs->pad;
    for (int i = 0; i < 2; i++) {
        int64_t kernel = w.shape.item[2 + i], step = stride->item[i];
        int64_t wanted = step == kernel && kernel > 1 ? 0 : kernel / 2;
        if (pad->item[i] == wanted) continue;
        return fe_fail(c->e, c->call->loc,
                       "%s on a tile-sparse tensor: pad is %lld, expected %lld for a window of "
                       "%lld with stride %lld",
                       c->call->text, (long long)pad->item[i], (long long)wanted, (long long)kernel,
                       (long long)step);
    }
    ir_attrs attrs = {.stride = *stride, .groups = groups, .set = IR_SET(stride) | IR_SET(groups)};
    w.op = IR_OP_sparse_conv;
    w.attrs = &attrs;
    return build_weighted(c, &w);
}

/* ---- one function per row of fe_builtins.def ---- */

static fe_value layer_conv2d(layer_call *c) {
    int64_t channels = 0, groups = 0;
    ir_ints kernel;
    ir_attrs attrs = {.set = IR_SET(stride) | IR_SET(pad) | IR_SET(groups)};
    if (!expect_image(c) || !get_channels(c, "channels", &channels) ||
        !get_channels(c, "groups", &groups) || !get_pair(c, "kernel", 1, &kernel) ||
        !get_pair(c, "stride", 1, &attrs.stride) || !get_pair(c, "pad", 0, &attrs.pad))
        return fe_poison();
    attrs.groups = groups;
    int64_t inputs = c->type.dim[c->type.rank - 1];
    if (inputs % groups || channels % groups)
        return fe_fail(c->e, c->call->loc,
                       "conv2d: %lld and %lld channels are not divisible into %lld groups",
                       (long long)inputs, (long long)channels, (long long)groups);
    weighted w = {IR_OP_conv2d, IR_INTS(channels, inputs / groups, kernel.item[0], kernel.item[1]),
                  channels, &attrs};
    return is_sparse(c) ? build_sparse(c, w, groups) : build_weighted(c, &w);
}

static fe_value layer_depthwise_conv(layer_call *c) {
    ir_ints kernel;
    ir_attrs attrs = {.set = IR_SET(stride) | IR_SET(pad)};
    if (!expect_image(c) || !get_pair(c, "kernel", 1, &kernel) ||
        !get_pair(c, "stride", 1, &attrs.stride))
        return fe_poison();
    attrs.pad = IR_INTS(kernel.item[0] / 2, kernel.item[1] / 2);
    if (c->slots.given[slot_of(c, "pad")] && !get_pair(c, "pad", 0, &attrs.pad)) return fe_poison();
    int64_t channels = c->type.dim[c->type.rank - 1];
    weighted w = {IR_OP_depthwise_conv, IR_INTS(channels, 1, kernel.item[0], kernel.item[1]),
                  channels, &attrs};
    return is_sparse(c) ? build_sparse(c, w, channels) : build_weighted(c, &w);
}

static fe_value layer_linear(layer_call *c) {
    int64_t channels = 0;
    bool conv = false;
    if (!get_channels(c, "channels", &channels) || !get_bool(c, "conv", &conv)) return fe_poison();
    int64_t inputs = c->type.dim[c->type.rank - 1];
    weighted w = {IR_OP_linear, conv ? IR_INTS(channels, inputs, 1, 1) : IR_INTS(channels, inputs),
                  channels, NULL};
    return build_weighted(c, &w);
}

static bool get_eps(layer_call *c, double *eps) {
    if (!get_number(c, "eps", eps)) return false;
    return (*eps >= 0 && *eps <= 1) || wrong(c, slot_of(c, "eps"), "a number from 0 to 1");
}

/* Weight and bias over the last dimension. */
static fe_value build_affine(layer_call *c, ir_op op, const char *weight_init) {
    ir_attrs attrs = {.set = IR_SET(eps)};
    ir_ints shape = IR_INTS(c->type.dim[c->type.rank - 1]);
    if (!get_eps(c, &attrs.eps)) return fe_poison();
    ir_value operands[3] = {c->x, own_parameter(c, "weight", shape, weight_init, 0),
                            own_parameter(c, "bias", shape, "zeros", 0)};
    if (!ir_some(operands[1]) || !ir_some(operands[2])) return fe_poison();
    return fe_node(c->e, c->call->loc, op, operands, 3, &attrs, c->label);
}

static fe_value layer_layer_norm(layer_call *c) {
    return build_affine(c, IR_OP_layer_norm, "ones");
}

/* One of the words that an argument may be; NULL after an error. */
static const char *get_word(layer_call *c, const char *name, const char *const *words) {
    int slot = slot_of(c, name);
    fe_value value = c->slots.value[slot];
    ir_text list = {0};
    for (int i = 0; words[i]; i++) {
        if (value.kind == FE_VALUE_TEXT && strcmp(value.text, words[i]) == 0) {
            ir_text_free(&list);
            return words[i];
        }
        ir_text_printf(&list, "%s\"%s\"", i ? ", " : "", words[i]);
    }
    wrong(c, slot, list.data);
    ir_text_free(&list);
    return NULL;
}

/* Weight and bias of the channels, or the constants that leave them out. */
static bool channel_factors(layer_call *c, bool trained, const char *init, ir_value out[2]) {
    int64_t channels = c->type.dim[c->type.rank - 1];
    for (int i = 0; i < 2; i++) {
        if (trained) {
            out[i] =
                own_parameter(c, i ? "bias" : "weight", IR_INTS(channels), i ? "zeros" : init, 0);
        } else {
            ir_attrs fill = {.shape = IR_INTS(channels),
                             .value = i ? 0 : 1,
                             .set = IR_SET(shape) | IR_SET(value)};
            out[i] = fe_node(c->e, c->call->loc, IR_OP_constant, NULL, 0, &fill, NULL).tensor;
        }
        if (!ir_some(out[i])) return false;
    }
    return true;
}

/* Without the residual a weight of zero would leave nothing: it starts at one then. */
static fe_value layer_grn(layer_call *c) {
    static const char *const aggregates[] = {"l2", "l1", "mean", "none", NULL};
    static const char *const normalizes[] = {"mean",        "sum",  "standardize",
                                             "inverse_sum", "none", NULL};
    static const char *const scopes[] = {"sample", "batch", NULL};
    ir_attrs attrs = {.set = IR_SET(eps) | IR_SET(aggregate) | IR_SET(normalize) |
                             IR_SET(residual) | IR_SET(inside) | IR_SET(scope)};
    bool affine = true;
    if (!get_eps(c, &attrs.eps) || !get_bool(c, "residual", &attrs.residual) ||
        !get_bool(c, "inside", &attrs.inside) || !get_bool(c, "affine", &affine))
        return fe_poison();
    attrs.aggregate = get_word(c, "aggregate", aggregates);
    attrs.normalize = attrs.aggregate ? get_word(c, "normalize", normalizes) : NULL;
    attrs.scope = attrs.normalize ? get_word(c, "scope", scopes) : NULL;
    ir_value operands[3] = {c->x};
    if (!attrs.scope ||
        !channel_factors(c, affine, attrs.residual ? "zeros" : "ones", operands + 1))
        return fe_poison();
    return fe_node(c->e, c->call->loc, IR_OP_grn, operands, 3, &attrs, c->label);
}

static fe_value layer_affine(layer_call *c) {
    ir_value f[2];
    if (!channel_factors(c, true, "ones", f)) return fe_poison();
    fe_value y = fe_node(c->e, c->call->loc, IR_OP_mul, (ir_value[]){c->x, f[0]}, 2, NULL, NULL);
    if (y.kind != FE_VALUE_TENSOR) return y;
    return fe_node(c->e, c->call->loc, IR_OP_add, (ir_value[]){y.tensor, f[1]}, 2, NULL, c->label);
}

/* ---- batch normalization (Ioffe and Szegedy 2015), as torch.nn.BatchNorm2d ---- */

typedef struct batch_statistics {
    ir_value mean, var; /* (C); biased variance */
    double count;       /* sites they are taken over */
} batch_statistics;

static ir_value build2(layer_call *c, ir_op op, ir_value a, ir_value b) {
    return ir_binary(c->e->graph, op, a, b);
}

static batch_statistics statistics_of(layer_call *c) {
    ir_graph *g = c->e->graph;
    batch_statistics s = {.count = 1};
    ir_ints axes = {0};
    for (int d = 0; d < c->type.rank - 1; d++) {
        axes.item[axes.count++] = d;
        s.count *= (double)c->type.dim[d];
    }
    s.mean = ir_scale(g, ir_sum(g, c->x, axes, false), 1 / s.count);
    ir_value off = build2(c, IR_OP_sub, c->x, s.mean);
    s.var = ir_scale(g, ir_sum(g, ir_unary(g, IR_OP_square, off), axes, false), 1 / s.count);
    return s;
}

/* old (1 - momentum) + now momentum, kept for the next step. */
static void keep_running(layer_call *c, ir_value old, ir_value now, double momentum) {
    ir_graph *g = c->e->graph;
    ir_value kept =
        build2(c, IR_OP_add, ir_scale(g, old, 1 - momentum), ir_scale(g, now, momentum));
    ir_add_update(g, old, kept);
}

/* Statistics of the batch while training, else the running ones, which are parameters that no
 * gradient changes. */
static fe_value layer_batch_norm(layer_call *c) {
    ir_graph *g = c->e->graph;
    double eps = 0, momentum = 0;
    ir_value f[2];
    if (!get_eps(c, &eps) || !get_number(c, "momentum", &momentum)) return fe_poison();
    if (!(momentum >= 0 && momentum <= 1)) {
        wrong(c, slot_of(c, "momentum"), "a number from 0 to 1");
        return fe_poison();
    }
    if (!channel_factors(c, true, "ones", f)) return fe_poison();
    ir_ints shape = IR_INTS(c->type.dim[c->type.rank - 1]);
    ir_value mean = own_statistic(c, "running_mean", shape, "zeros");
    ir_value var = own_statistic(c, "running_var", shape, "ones");
    if (!ir_some(mean) || !ir_some(var)) return fe_poison();
    batch_statistics s = {mean, var, 1};
    if (c->e->options->kind != IR_KIND_INFER) {
        s = statistics_of(c);
        double unbiased = s.count > 1 ? s.count / (s.count - 1) : 1;
        if (c->e->options->kind == IR_KIND_TRAIN) {
            keep_running(c, mean, s.mean, momentum);
            keep_running(c, var, ir_scale(g, s.var, unbiased), momentum);
        }
    }
    ir_value floor = ir_constant(g, ir_type_make(IR_F32, 0, NULL), eps);
    ir_value root = ir_unary(g, IR_OP_sqrt, build2(c, IR_OP_add, s.var, floor));
    ir_value y = build2(c, IR_OP_div, build2(c, IR_OP_sub, c->x, s.mean), root);
    y = build2(c, IR_OP_add, build2(c, IR_OP_mul, y, f[0]), f[1]);
    return fe_tensor(y);
}

static const struct {
    const char *name, *specification;
    layer *run;
} layers[] = {
#define LAYER(name, parameters) {#name, parameters, layer_##name},
#include "fe_builtins.def"
#undef LAYER
};

bool fe_find_layer(const char *name, int *index) {
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (strcmp(layers[i].name, name) == 0) {
            *index = (int)i;
            return true;
        }
    return false;
}

fe_value fe_call_layer(fe_elab *e, const fe_expr *call, int index, const fe_value *values,
                       const char *label) {
    layer_call c = {.e = e, .call = call, .label = label};
    if (call->count == 0 || call->args[0].name || values[0].kind != FE_VALUE_TENSOR)
        return fe_fail(e, call->loc, "first argument of %s is %s, expected a tensor", call->text,
                       call->count ? fe_describe(e->arena, values[0]) : "missing");
    c.x = values[0].tensor;
    c.type = ir_type_of(e->graph, c.x);
    if (!label) {
        size_t errors = e->diag->errors;
        fe_fail(e, call->loc, "'%s' has parameters and needs a label to name them", call->text);
        if (e->diag->errors > errors) ir_hint(e->diag, "write y = name: %s(..)", call->text);
        return fe_poison();
    }
    if (c.type.rank < 2)
        return fe_fail(e, call->loc, "%s takes a tensor (..,C) of rank 2 or more, found rank %d",
                       call->text, c.type.rank);
    if (!fe_fill_slots(e, call, values, 1, layers[index].specification, &c.slots))
        return fe_poison();
    return layers[index].run(&c);
}
