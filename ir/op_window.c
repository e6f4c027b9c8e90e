/* Depthwise windows of odd size, stride 1, zero padding (k-1)/2: the image keeps its size.
 *
 *     window     y(p,c)    = sum_t x(p + t, c) w(c, t)       t over the taps, centred
 *     window_dx  dx(p,c)   = sum_t dy(p - t, c) w(c, t)
 *     window_dw  dw(c,t)   = sum_p dy(p,c) x(p + t, c)                                         */
#include "op_util.h"

#define OPERAND(i) (ir_at(graph, y)->operand[i])

static bool check_image(const ir_shape_args *args, ir_type image) {
    if (image.rank == 4) return true;
    return ir_shape_error(args, "image is %s, expected (N,H,W,C)", op_shape(image).text);
}

static bool check_taps(const ir_shape_args *args) {
    return check_image(args, args->type[0]) &&
           op_check_taps(args, args->type[0].dim[3], args->type[1]);
}

OP_SHAPE(window) {
    *out = args->type[0];
    return check_taps(args);
}
OP_SHAPE(window_dx) {
    *out = args->type[0];
    return check_taps(args);
}
OP_SHAPE(window_dw) {
    ir_type dy = args->type[0], x = args->type[1];
    const ir_ints *kernel = &args->attrs->kernel;
    if (!check_image(args, dy) || !check_image(args, x)) return false;
    if (!ir_type_same_shape(dy, x))
        return ir_shape_error(args, "gradient is %s, image is %s", op_shape(dy).text,
                              op_shape(x).text);
    if (!op_check_kernel(args)) return false;
    *out = ir_type_make(IR_F32, 4, (int64_t[]){x.dim[3], 1, kernel->item[0], kernel->item[1]});
    return true;
}

typedef struct window_args {
    int64_t n, h, w, c, kh, kw;
    const double *image, *taps;
    double *out;
} window_args;

/* out(p) += image(p + sign t) taps(t) */
static void slide(const window_args *a, int sign) {
    for (int64_t n = 0; n < a->n; n++)
        for (int64_t y = 0; y < a->h; y++)
            for (int64_t x = 0; x < a->w; x++)
                for (int64_t ky = 0; ky < a->kh; ky++)
                    for (int64_t kx = 0; kx < a->kw; kx++) {
                        int64_t iy = y + sign * (ky - a->kh / 2), ix = x + sign * (kx - a->kw / 2);
                        if (iy < 0 || iy >= a->h || ix < 0 || ix >= a->w) continue;
                        const double *in = a->image + ((n * a->h + iy) * a->w + ix) * a->c;
                        double *out = a->out + ((n * a->h + y) * a->w + x) * a->c;
                        for (int64_t c = 0; c < a->c; c++)
                            out[c] += in[c] * a->taps[(c * a->kh + ky) * a->kw + kx];
                    }
}

static window_args from_eval(const ir_eval_args *args) {
    ir_type image = args->type[0], w = args->type[1];
    return (window_args){image.dim[0], image.dim[1], image.dim[2], image.dim[3], w.dim[2],
                         w.dim[3],     args->in[0],  args->in[1],  args->out};
}

OP_EVAL(window) {
    window_args a = from_eval(args);
    slide(&a, 1);
}
OP_EVAL(window_dx) {
    window_args a = from_eval(args);
    slide(&a, -1);
}
OP_EVAL(window_dw) {
    ir_type t = args->type[0];
    int64_t kh = args->node->type.dim[2], kw = args->node->type.dim[3], channels = t.dim[3];
    for (int64_t n = 0; n < t.dim[0]; n++)
        for (int64_t y = 0; y < t.dim[1]; y++)
            for (int64_t x = 0; x < t.dim[2]; x++)
                for (int64_t ky = 0; ky < kh; ky++)
                    for (int64_t kx = 0; kx < kw; kx++) {
                        int64_t iy = y + ky - kh / 2, ix = x + kx - kw / 2;
                        if (iy < 0 || iy >= t.dim[1] || ix < 0 || ix >= t.dim[2]) continue;
                        int64_t at = ((n * t.dim[1] + y) * t.dim[2] + x) * channels;
                        int64_t in = ((n * t.dim[1] + iy) * t.dim[2] + ix) * channels;
                        for (int64_t c = 0; c < channels; c++)
                            args->out[(c * kh + ky) * kw + kx] +=
                                args->in[0][at + c] * args->in[1][in + c];
                    }
}

static ir_value weight_gradient(ir_graph *graph, ir_value dy, ir_value x, ir_value w) {
    ir_type type = ir_type_of(graph, w);
    ir_attrs attrs = {.kernel = IR_INTS(type.dim[2], type.dim[3]), .set = IR_SET(kernel)};
    return ir_build(graph, IR_OP_window_dw, (ir_value[]){dy, x}, 2, &attrs, NULL);
}

OP_GRAD(window) {
    ir_value x = OPERAND(0), w = OPERAND(1);
    dx[0] = ir_binary(graph, IR_OP_window_dx, dy, w);
    dx[1] = weight_gradient(graph, dy, x, w);
}
OP_GRAD(window_dx) { /* y = window_dx(a, w): its own adjoint is window */
    ir_value a = OPERAND(0), w = OPERAND(1);
    dx[0] = ir_binary(graph, IR_OP_window, dy, w);
    dx[1] = weight_gradient(graph, a, dy, w);
}
OP_GRAD(window_dw) { /* y(c,t) = sum_p a(p,c) x(p+t,c) */
    ir_value a = OPERAND(0), x = OPERAND(1);
    dx[0] = ir_binary(graph, IR_OP_window, x, dy);
    dx[1] = ir_binary(graph, IR_OP_window_dx, a, dy);
}
