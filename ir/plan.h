/* The plan: what passes hand to codegen, and all that codegen sees.
 *
 * A plan is buffers, kernels and two lists of regions (init, then main once per step).
 *   - A kernel is a loop nest over tiles with tile operations in it (tile_ops.def). Equal kernels
 * of a network are one kernel, called with other buffers.
 *   - A call binds a kernel's parameters to (buffer, byte offset).
 *   - A region has `tasks` independent tasks spread over the workers, with a barrier after it. Task
 * t runs its calls in order, each on its kernel tasks [t q, (t+1) q), q = kernel.tasks / tasks. A
 *     region over samples with many calls is depth-first execution; a region with one call splits
 *     inside the kernel. A region that spreads has calls that do not need each other: its tasks are
 *     all tasks of all calls, in any order.
 *   - Buffers have offsets in the state or in one arena (the workspace). A private buffer belongs
 * to the worker: it is one task's slice, reused from task to task.
 *
 * Kernels. Statements stand in pre-order in one array; a REGION statement's body is the range
 * (its index + 1 .. end). Parallel loops (`parallel`) come first, each directly inside the other;
 * the product of their trip counts is kernel.tasks, the last one varying fastest. Loops step by
 * `step`; the last, shorter step runs the same body with smaller tiles (sizes are static: codegen
 * emits the body twice). A loop `within` another runs over that one's current step, which may be
 * the shorter one: rows cut into parts, the last with what is left. A loop with `halo` > 0 has
 * those steps emitted separately, with a constant loop value, whose [v - halo, v + size + halo)
 * leaves [0, extent); so window emitters know statically which taps fall outside.
 *
 * Tile values. A statement's result is a tile (rows, cols), rows <= a few, living in registers.
 * Maps and loads are evaluated element vector by element vector where a store, fold or matmul needs
 * them, once per block of statements; a value used inside a region but defined before it is
 * computed before it. Consecutive stores are evaluated together per element vector before any is
 * written, so an in-place update may read and write the same element, and only that.
 *
 * Example, linear + bias + GELU + per-sample sum of squares (fc1 of a block):
 *
 *     kernel k3(x f32, w f32, b f32, h f32, ss f32) tasks 160
 *       parallel n in 16 step 1
 *         parallel j in 160 step 16
 *           %2 = load b[j] (1, j)
 *           loop r in 3136 step 6
 *             %4 = carry 0, %12 (1, j)
 *             %5 = matmul k in 40 (r, j) %6 %7 + %2
 *               %6 = load x[125440 n + 40 r + k] rows 40 (r, 1)
 *               %7 = load w[40 j + 16 k] (1, j)
 *             %8 = gelu %5
 *             store h[501760 n + 160 r + j] rows 160 = %8
 *             ...
 */
#ifndef IR_PLAN_H
#define IR_PLAN_H

#include "graph.h"

/* What passes need to know of the machine; filled by codegen from its table (cg_machine.h). */
typedef struct ir_machine {
    const char *name;                     /* --cpu name */
    int32_t lanes;                        /* f32 elements of a vector register */
    int32_t registers;                    /* vector registers */
    int32_t fma_latency;                  /* cycles */
    int32_t fma_per_cycle;                /* vector FMAs */
    int64_t l1_bytes, l2_bytes, l3_bytes; /* l3: shared */
} ir_machine;

enum { IR_MAX_TERMS = 8, IR_MAX_GUARDS = 3, IR_NO_STMT = -1 };

typedef struct ir_affine {
    int64_t base;
    int32_t count; /* terms */
    struct {
        int32_t loop;
        int64_t factor;
    } term[IR_MAX_TERMS]; /* + factor * loop value */
} ir_affine;

typedef struct ir_guard {
    ir_affine value; /* the access exists only if 0 <= value < limit */
    int64_t limit;
} ir_guard;

/* Element (i,j) of the tile is parameter element at + i row_stride + j col_stride [+ table term].
 */
typedef struct ir_access {
    int32_t param;
    ir_affine at;
    int64_t row_stride; /* elements; 0 broadcasts */
    int64_t col_stride; /* elements; 1 is contiguous, 0 broadcasts */
    int32_t guard_count;
    ir_guard guard[IR_MAX_GUARDS];
    int32_t table;      /* i32 parameter holding tile positions, or -1 */
    ir_affine table_at; /* which entry v; v / table_wrap * table_line + v % table_wrap * table_scale
                           is added to the element offset */
    int64_t table_scale, table_wrap, table_line;
} ir_access;

typedef struct ir_extent {
    int64_t fixed; /* used when loop < 0 */
    int32_t loop;  /* size of this loop's current step */
} ir_extent;
#define IR_FIXED(n) ((ir_extent){.fixed = (n), .loop = -1})
#define IR_STEP_OF(l) ((ir_extent){.fixed = 0, .loop = (l)})

typedef enum ir_tile_op {
#define TILE(name, kind, operands, doc) IR_TILE_##name,
#include "tile_ops.def"
#undef TILE
    IR_TILE_COUNT
} ir_tile_op;

typedef enum ir_tile_kind {
    IR_TILE_MAP,
    IR_TILE_VALUE,
    IR_TILE_REGION,
    IR_TILE_EFFECT,
    IR_TILE_FOLD
} ir_tile_kind;

typedef struct ir_tile_info {
    const char *name;
    ir_tile_kind kind;
    int operands;
    const char *doc;
} ir_tile_info;

/* The geometry of a depthwise window statement. Pixel (y,x), channel c of the image stands at
 * image.at(with y = x = 0) + y line_stride + x image.row_stride + c, where c comes with image.at.
 */
typedef struct ir_window {
    ir_access image;     /* x; its `at` addresses pixel (0,0) */
    int64_t line_stride; /* elements from pixel (y,x) to (y+1,x) of the image */
    ir_access weight;    /* window: w at tap (0,0); row_stride: next tap of a line */
    int64_t tap_line;    /* elements from tap (ky,kx) to (ky+1,kx) */
    ir_access other;     /* window_dw: dy; its `at` addresses pixel (0,0), row_stride next pixel */
    int64_t other_line;  /* window_dw: elements from dy(y,x) to dy(y+1,x) */
    int32_t kernel_h, kernel_w; /* odd; padding is (kernel-1)/2 */
    int64_t height, width;      /* of image and result */
    int32_t loop_y; /* window: loop over result lines, step 1; window_dw: loop over ky */
    int32_t loop_x; /* window: loop over result pixels, its step the tile's rows; dw: -1 */
    bool haloed;    /* every tap exists: the image goes on beyond height x width */
    bool flip;      /* window: tap (ky,kx) is w(kernel_h-1-ky, kernel_w-1-kx): data gradient */
} ir_window;

typedef struct ir_stmt {
    ir_tile_op op;
    ir_extent rows, cols; /* of the result */
    int32_t operand[3];   /* statements; IR_NO_STMT where there is none */
    int32_t end;          /* REGION: one past the body's last statement */
    int32_t loop;         /* loop, matmul: which loop */
    double value;         /* constant */
    ir_access access;     /* load, store; iota: at, row_stride, col_stride; uniform: index, and
                             param = the i64 view of the scalars: 1 step, 2 seed */
    ir_affine sample;     /* uniform */
    int64_t stream;       /* uniform */
    const ir_window *window;
} ir_stmt;

typedef struct ir_loop {
    const char *name; /* "n", "r", "j", "k": for reading only */
    int64_t extent;
    int64_t step;
    int32_t within; /* the enclosing loop whose current step it runs over: then `extent` is the
                       longest of them; or -1 */
    int64_t halo;   /* see above */
    int32_t unroll; /* matmul loops: steps of k per iteration of the emitted loop; 0: codegen's
                       choice */
    bool parallel;
} ir_loop;

typedef struct ir_param {
    const char *name;
    ir_dtype dtype;
    bool written;
} ir_param;

typedef struct ir_kernel {
    const char *name; /* "matmul_nt_gelu_3": unique in the plan, a C identifier */
    const char *doc;  /* the graph ops it stands for */
    ir_param *params;
    size_t param_count, param_capacity;
    ir_loop *loops;
    size_t loop_count, loop_capacity;
    ir_stmt *stmts;
    size_t stmt_count, stmt_capacity;
    int64_t tasks; /* product of the parallel loops' trip counts */
    int64_t macs;  /* multiply-accumulates of one call, all tasks */
    int64_t bytes; /* read and written by one call */
    uint64_t hash; /* of everything but names */
} ir_kernel;

typedef enum ir_buffer_class {
    IR_BUFFER_INPUT,   /* the caller's, read; io[index] */
    IR_BUFFER_OUTPUT,  /* the caller's, written; io[index] */
    IR_BUFFER_WEIGHTS, /* one of the caller's f32 parameters, at offset in the weights; init only */
    IR_BUFFER_STATE,   /* parameters, optimizer state, packed weights: at offset in the state */
    IR_BUFFER_ARENA,   /* at offset in the workspace */
    IR_BUFFER_PRIVATE, /* at offset in the worker's part of the workspace */
    IR_BUFFER_SCALARS  /* struct cnx_scalars: f32 lr at byte 0, i64 step at 8, i64 seed at 16 */
} ir_buffer_class;

typedef struct ir_buffer {
    const char *name; /* tensor it holds, for reading */
    ir_dtype dtype;
    ir_type type; /* shape for the header and for reading */
    ir_buffer_class class;
    int64_t bytes;       /* private: of one task's slice */
    int64_t offset;      /* bytes; multiple of 64, but parameters in a training state lie densely */
    int32_t index;       /* input, output: position in io */
    ir_mask mask;        /* input: what its rows must hold, checked before every run */
    int32_t first, last; /* main regions between which it lives */
} ir_buffer;

typedef struct ir_argument {
    int32_t buffer;
    int64_t offset;
} ir_argument; /* offset in bytes */

typedef struct ir_call {
    int32_t kernel;
    ir_argument *arguments; /* one per parameter */
} ir_call;

typedef struct ir_region {
    int64_t tasks;
    bool spread; /* calls are independent; tasks is the sum of theirs */
    ir_call *calls;
    size_t call_count, call_capacity;
} ir_region;

typedef struct ir_weight { /* one parameter of the model, in the order of the weights table */
    const char *name;
    ir_type type;
    int64_t offset; /* elements from the start of the f32 weights */
    int32_t buffer; /* train: its STATE buffer */
} ir_weight;

typedef struct ir_plan {
    ir_arena *arena;
    const char *name; /* identifier */
    ir_kind kind;
    const ir_machine *machine;
    int64_t batch;
    int64_t workers; /* most workers the workspace has room for */
    ir_buffer *buffers;
    size_t buffer_count, buffer_capacity;
    ir_kernel *kernels;
    size_t kernel_count, kernel_capacity;
    ir_region *init;
    size_t init_count, init_capacity;
    ir_region *main;
    size_t main_count, main_capacity;
    ir_weight *weights;
    size_t weight_count, weight_capacity;
    int64_t weights_elements; /* f32 elements of all weights */
    int64_t state_bytes;      /* a multiple of 64 */
    int64_t arena_bytes;      /* shared part of the workspace */
    int64_t private_bytes;    /* one worker's part, after the shared part */
    int64_t workspace_bytes;  /* arena_bytes + workers * private_bytes */
    int64_t naive_bytes;      /* sum of all arena and private buffers without reuse */
    ir_meta *metas;
    size_t meta_count; /* from the graph */
} ir_plan;

const ir_tile_info *ir_tile_get(ir_tile_op op);
ir_plan *ir_plan_new(const char *name, ir_kind kind, const ir_machine *machine);
void ir_plan_free(ir_plan *plan);
const char *ir_plan_meta(const ir_plan *plan, const char *key); /* NULL if absent */
/* The buffer of this class that holds the tensor of this name, or NULL. */
const ir_buffer *ir_plan_buffer(const ir_plan *plan, ir_buffer_class class, const char *name);
int64_t ir_plan_classes(const ir_plan *plan); /* width of the output `logits`; 0 without them */
ir_mask ir_plan_mask(const ir_plan *plan, const char *input); /* of an input; {0}: it is none */
void ir_plan_print(const ir_plan *plan, ir_text *out);
void ir_kernel_print(const ir_kernel *kernel, ir_text *out);
/* Checks the invariants above (statement order, extents, accesses inside their buffers where they
 * can be bounded, tasks divisible); a violation is a compiler bug and aborts with the place. */
void ir_plan_verify(const ir_plan *plan);
/* Hash of everything in a kernel but its names; equal hash and ir_kernel_equal: one kernel. */
uint64_t ir_kernel_hash(const ir_kernel *kernel);
bool ir_kernel_equal(const ir_kernel *a, const ir_kernel *b);

/* Runs a plan by interpretation, one element at a time: the oracle between lowering and codegen.
 * Arguments as for a compiled program (runtime/abi). */
typedef struct ir_plan_run {
    void *state;          /* plan->state_bytes */
    void *workspace;      /* plan->workspace_bytes */
    const float *weights; /* plan->weights_elements */
    void *const *io;      /* inputs, then outputs */
    float lr;
    uint64_t step, seed;
} ir_plan_run;
void ir_plan_interpret_init(const ir_plan *plan, const ir_plan_run *run);
void ir_plan_interpret_main(const ir_plan *plan, const ir_plan_run *run);

#endif
