/* Builds one ir_kernel: statements in order, regions opened and closed, affine indexes.
 *
 *     kb_kernel k = kb_begin(arena, "gelu", "gelu");
 *     int x = kb_param(&k, "x", IR_F32, false), y = kb_param(&k, "y", IR_F32, true);
 *     int n = kb_parallel(&k, "n", 16, 1);
 *     int j = kb_loop(&k, "j", 640, 32);
 *     ir_access at = kb_access(x, kb_affine2(0, n, 640, j, 1), 0, 1);
 *     int v = kb_map1(&k, IR_TILE_gelu, kb_load(&k, at, IR_FIXED(1), IR_STEP_OF(j)));
 *     kb_store(&k, (at.param = y, at), v);
 *     kb_end(&k), kb_end(&k);
 *     ir_kernel done = kb_finish(&k);
 */
#ifndef PASS_KERNEL_BUILD_H
#define PASS_KERNEL_BUILD_H

#include "plan.h"

enum { KB_MAX_DEPTH = 16 };

typedef struct kb_kernel {
    ir_arena *arena;
    ir_kernel kernel;
    int32_t open[KB_MAX_DEPTH]; /* region statements not yet closed */
    int depth;
} kb_kernel;

kb_kernel kb_begin(ir_arena *arena, const char *name, const char *doc);
ir_kernel kb_finish(kb_kernel *k);
int kb_param(kb_kernel *k, const char *name, ir_dtype dtype, bool written);
/* Opens a loop and returns its loop id; the statement's body follows until kb_end. */
int kb_loop(kb_kernel *k, const char *name, int64_t extent, int64_t step);
/* A loop over the current step of `outer`. */
int kb_loop_within(kb_kernel *k, const char *name, int outer, int64_t step);
int kb_parallel(kb_kernel *k, const char *name, int64_t extent, int64_t step);
/* Opens a matmul over k; operand a and b are set by kb_end_matmul, which returns the statement. */
int kb_matmul(kb_kernel *k, const char *name, int64_t extent, int init, ir_extent rows,
              ir_extent cols);
/* The open matmul runs over the current step of `outer`, as long as its extent or shorter. */
void kb_matmul_within(kb_kernel *k, int outer);
int kb_end_matmul(kb_kernel *k, int a, int b);
void kb_end(kb_kernel *k);

int kb_constant(kb_kernel *k, double value);
int kb_carry(kb_kernel *k, int init, ir_extent rows, ir_extent cols);
void kb_yield(kb_kernel *k, int carry, int value);
int kb_load(kb_kernel *k, ir_access access, ir_extent rows, ir_extent cols);
void kb_store(kb_kernel *k, ir_access access, int value);
int kb_map1(kb_kernel *k, ir_tile_op op, int a);
int kb_map2(kb_kernel *k, ir_tile_op op, int a, int b);
int kb_map3(kb_kernel *k, ir_tile_op op, int a, int b, int c);
int kb_fold(kb_kernel *k, ir_tile_op op, int a); /* sum_rows, sum_cols, ... */
/* A row of numbers at, at + 1, ... */
int kb_iota(kb_kernel *k, ir_affine at, ir_extent cols);
/* A row of random numbers in [0,1). */
typedef struct kb_draw {
    int scalars;          /* parameter: step at 1, seed at 2 */
    ir_affine at, sample; /* of the first number */
    int64_t stream;
} kb_draw;
int kb_uniform(kb_kernel *k, const kb_draw *draw, ir_extent cols);
int kb_stmt(kb_kernel *k, ir_stmt stmt);

ir_affine kb_affine(int64_t base);
ir_affine kb_plus(ir_affine at, int loop, int64_t factor); /* loop < 0 or factor 0: unchanged */
ir_affine kb_add(ir_affine a, ir_affine b);
ir_access kb_access(int param, ir_affine at, int64_t row_stride, int64_t col_stride);
void kb_guard(ir_access *access, ir_affine value, int64_t limit);

/* The largest divisor of n that is at most `most` (at least 1). */
int64_t kb_divisor(int64_t n, int64_t most);
/* The size of a part when n is cut into at most `most` parts: all equal if a divisor makes nearly
 * as many, else the last is shorter; a multiple of `unit` if one unit of each part is not all. */
int64_t kb_part(int64_t n, int64_t most, int64_t unit);
/* The same with parts of at most `most`. */
int64_t kb_chunk(int64_t n, int64_t most);

#endif
