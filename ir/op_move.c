/* Moves: elements change places, never values; and fold, which adds them where windows overlap. */
#include "op_util.h"

#include <string.h>

OP_SHAPE(reshape) {
    *out = ir_type_make(args->type[0].dtype, args->attrs->shape.count, args->attrs->shape.item);
    if (!ir_type_valid(*out) || ir_type_elements(*out) != ir_type_elements(args->type[0]))
        return ir_shape_error(args, "%s has %lld elements, cannot become %s",
                              op_shape(args->type[0]).text,
                              (long long)ir_type_elements(args->type[0]), op_shape(*out).text);
    return op_take_sparsity(args, out);
}
OP_EVAL(reshape) {
    memcpy(args->out, args->in[0], (size_t)ir_type_elements(args->node->type) * sizeof(double));
}
OP_GRAD(reshape) {
    dx[0] = ir_reshape(graph, dy, ir_type_of(graph, ir_at(graph, y)->operand[0]));
}

OP_SHAPE(permute) {
    const ir_ints *order = &args->attrs->order;
    bool seen[IR_MAX_RANK] = {false};
    *out = args->type[0];
    if (order->count != out->rank)
        return ir_shape_error(args, "order has %d entries, operand %s has rank %d", order->count,
                              op_shape(*out).text, out->rank);
    for (int d = 0; d < out->rank; d++) {
        int64_t from = order->item[d];
        if (from < 0 || from >= out->rank || seen[from])
            return ir_shape_error(args, "order is no permutation of 0..%d", out->rank - 1);
        seen[from] = true;
        out->dim[d] = args->type[0].dim[from];
        if (from != d) out->sparsity = (ir_sparsity){0}; /* no longer a list of tiles */
    }
    return true;
}
OP_EVAL(permute) {
    ir_type to = args->node->type, from = args->type[0];
    int64_t stride[IR_MAX_RANK], own[IR_MAX_RANK], index[IR_MAX_RANK] = {0}, at = 0;
    op_strides(from, from, own);
    for (int d = 0; d < to.rank; d++)
        stride[d] = own[args->node->attrs.order.item[d]];
    for (int64_t i = 0, n = ir_type_elements(to); i < n; i++) {
        args->out[i] = args->in[0][at];
        for (int d = to.rank - 1; d >= 0; d--) {
            at += stride[d];
            if (++index[d] < to.dim[d]) break;
            at -= stride[d] * to.dim[d];
            index[d] = 0;
        }
    }
}
OP_GRAD(permute) {
    ir_attrs attrs = {.set = IR_SET(order)};
    const ir_ints *order = &ir_at(graph, y)->attrs.order;
    attrs.order.count = order->count;
    for (int d = 0; d < order->count; d++)
        attrs.order.item[order->item[d]] = d;
    ir_value back = ir_build(graph, IR_OP_permute, &dy, 1, &attrs, NULL);
    dx[0] = ir_reshape(graph, back, ir_type_of(graph, ir_at(graph, y)->operand[0]));
}

typedef struct unfold_shape {
    int64_t n, h, w, c, oh, ow, kh, kw, sh, sw, ph, pw, groups;
} unfold_shape;

static bool describe(const ir_shape_args *args, ir_type image, unfold_shape *s) {
    const ir_attrs *a = args->attrs;
    if (image.rank != 4)
        return ir_shape_error(args, "image is %s, expected (N,H,W,C)", op_shape(image).text);
    if (a->kernel.count != 2 || a->stride.count != 2 || a->pad.count != 2)
        return ir_shape_error(args, "kernel, stride and pad take two numbers each");
    *s = (unfold_shape){image.dim[0],
                        image.dim[1],
                        image.dim[2],
                        image.dim[3],
                        0,
                        0,
                        a->kernel.item[0],
                        a->kernel.item[1],
                        a->stride.item[0],
                        a->stride.item[1],
                        a->pad.item[0],
                        a->pad.item[1],
                        a->groups};
    int64_t big = (int64_t)1 << 31, row;
    if (s->kh < 1 || s->kw < 1 || s->sh < 1 || s->sw < 1 || s->ph < 0 || s->pw < 0 || s->kh > big ||
        s->kw > big || s->ph > big || s->pw > big)
        return ir_shape_error(args, "kernel and stride must be positive, pad not negative");
    if (s->groups < 1 || s->c % s->groups)
        return ir_shape_error(args, "%lld channels are not divisible into %lld groups",
                              (long long)s->c, (long long)s->groups);
    if (s->h + 2 * s->ph < s->kh || s->w + 2 * s->pw < s->kw)
        return ir_shape_error(args, "window %lldx%lld does not fit the image %s", (long long)s->kh,
                              (long long)s->kw, op_shape(image).text);
    if (__builtin_mul_overflow(s->kh * s->kw, s->c, &row))
        return ir_shape_error(args, "window %lldx%lld of %lld channels is too large",
                              (long long)s->kh, (long long)s->kw, (long long)s->c);
    s->oh = (s->h + 2 * s->ph - s->kh) / s->sh + 1;
    s->ow = (s->w + 2 * s->pw - s->kw) / s->sw + 1;
    return true;
}

static ir_type windows_of(const unfold_shape *s, ir_dtype dtype) {
    return ir_type_make(dtype, 4, (int64_t[]){s->n, s->oh, s->ow, s->kh * s->kw * s->c});
}

OP_SHAPE(unfold) {
    unfold_shape s;
    if (!describe(args, args->type[0], &s)) return false;
    *out = windows_of(&s, args->type[0].dtype);
    return true;
}
OP_SHAPE(fold) {
    unfold_shape s;
    ir_dtype dtype = args->type[0].dtype;
    *out = ir_type_make(dtype, args->attrs->shape.count, args->attrs->shape.item);
    if (!ir_type_valid(*out))
        return ir_shape_error(args, "no image has the shape %s", op_shape(*out).text);
    if (!describe(args, *out, &s)) return false;
    if (!ir_type_same_shape(args->type[0], windows_of(&s, dtype)))
        return ir_shape_error(args, "windows are %s, expected %s", op_shape(args->type[0]).text,
                              op_shape(windows_of(&s, dtype)).text);
    return true;
}

/* Visits every (window element, image element) pair inside the image. */
static void visit(const ir_eval_args *args, ir_type image, bool unfold) {
    unfold_shape s;
    ir_shape_args shape = {.op = args->node->op, .attrs = &args->node->attrs};
    describe(&shape, image, &s);
    int64_t cg = s.c / s.groups, at = 0;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t oy = 0; oy < s.oh; oy++)
            for (int64_t ox = 0; ox < s.ow; ox++)
                for (int64_t g = 0; g < s.groups; g++)
                    for (int64_t ky = 0; ky < s.kh; ky++)
                        for (int64_t kx = 0; kx < s.kw; kx++, at += cg) {
                            int64_t y = oy * s.sh + ky - s.ph, x = ox * s.sw + kx - s.pw;
                            if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
                            int64_t in = ((n * s.h + y) * s.w + x) * s.c + g * cg;
                            for (int64_t c = 0; c < cg; c++) {
                                if (unfold)
                                    args->out[at + c] = args->in[0][in + c];
                                else
                                    args->out[in + c] += args->in[0][at + c];
                            }
                        }
}

OP_EVAL(unfold) {
    visit(args, args->type[0], true);
}
OP_EVAL(fold) {
    visit(args, args->node->type, false);
}

OP_GRAD(unfold) {
    ir_type image = ir_type_of(graph, ir_at(graph, y)->operand[0]);
    ir_attrs attrs = ir_at(graph, y)->attrs;
    attrs.shape.count = image.rank;
    memcpy(attrs.shape.item, image.dim, sizeof attrs.shape.item);
    attrs.set |= IR_SET(shape);
    dx[0] = ir_build(graph, IR_OP_fold, &dy, 1, &attrs, NULL);
}
OP_GRAD(fold) {
    ir_attrs attrs = ir_at(graph, y)->attrs;
    attrs.shape = (ir_ints){0};
    attrs.set &= ~IR_SET(shape);
    dx[0] = ir_build(graph, IR_OP_unfold, &dy, 1, &attrs, NULL);
}
