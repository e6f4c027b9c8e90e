/* Checks a plan: first every kernel for itself (structure, scopes, extents), then buffers, then
 * every call (classes, types, and that all elements its accesses can reach lie inside the bound
 * buffer). Accesses with guards or tables reach a set that is no interval; those are checked where
 * they are interpreted. */
#include "plan.h"

#include <ctype.h>
#include <string.h>

typedef struct checker {
    const ir_plan *plan;
    const ir_kernel *k;
    int32_t *parent; /* per statement: the region it stands in, or -1 */
    int32_t *owner;  /* per loop: the statement that runs it, or -1 */
    int32_t at;      /* statement being checked */
    ir_arena *scratch;
} checker;

#define FAIL(c, ...) fail_at((c), __LINE__, ir_arena_printf((c)->scratch, __VA_ARGS__))
#define CHECK(c, condition, ...)                                                                   \
    do {                                                                                           \
        if (!(condition)) FAIL(c, __VA_ARGS__);                                                    \
    } while (0)

static _Noreturn void fail_at(const checker *c, int line, const char *message) {
    ir_text text = {0};
    if (c->k) ir_kernel_print(c->k, &text);
    ir_bug(__FILE__, line, "plan %s, kernel %s, statement %d: %s\n%s", c->plan->name,
           c->k ? c->k->name : "-", c->at, message, text.data ? text.data : "");
}

/* --- scopes --- */

static bool encloses(const checker *c, int32_t region, int32_t stmt) {
    if (region < 0) return true;
    return region < stmt && stmt < c->k->stmts[region].end;
}

/* Whether the value of `def` exists at `place`, a position in the body of `region`. */
static bool visible(const checker *c, int32_t def, int32_t place, int32_t region) {
    if (def < 0 || def >= place) return false;
    ir_tile_kind kind = ir_tile_get(c->k->stmts[def].op)->kind;
    if (kind == IR_TILE_EFFECT || c->k->stmts[def].op == IR_TILE_loop) return false;
    int32_t scope = c->parent[def];
    bool carry = c->k->stmts[def].op == IR_TILE_carry;
    if (carry && place >= c->k->stmts[scope].end && region != scope) scope = c->parent[scope];
    return scope < 0 || scope == region || encloses(c, scope, region);
}

static bool loop_open(const checker *c, int32_t loop, int32_t stmt) {
    return loop >= 0 && loop < (int32_t)c->k->loop_count && c->owner[loop] >= 0 &&
           encloses(c, c->owner[loop], stmt);
}

static ir_extent canonical(const ir_kernel *k, ir_extent extent) {
    if (extent.loop < 0) return IR_FIXED(extent.fixed);
    const ir_loop *l = &k->loops[extent.loop];
    bool known = l->within < 0 || canonical(k, IR_STEP_OF(l->within)).loop < 0;
    if (!known) return l->step == 1 ? IR_FIXED(1) : extent;
    if (l->step >= l->extent) return IR_FIXED(l->extent);
    return l->extent % l->step == 0 ? IR_FIXED(l->step) : extent;
}

static bool same_extent(const ir_kernel *k, ir_extent a, ir_extent b) {
    a = canonical(k, a);
    b = canonical(k, b);
    return a.loop == b.loop && (a.loop >= 0 || a.fixed == b.fixed);
}

static bool is_one(const ir_kernel *k, ir_extent a) {
    return same_extent(k, a, IR_FIXED(1));
}

static bool broadcasts(const ir_kernel *k, ir_extent from, ir_extent to) {
    return is_one(k, from) || same_extent(k, from, to);
}

static void check_extent(checker *c, ir_extent extent, int32_t stmt) {
    if (extent.loop < 0)
        CHECK(c, extent.fixed >= 1, "extent %lld", (long long)extent.fixed);
    else
        CHECK(c, loop_open(c, extent.loop, stmt), "extent of loop %d, not open", extent.loop);
}

static void check_affine(checker *c, const ir_affine *at) {
    CHECK(c, at->count >= 0 && at->count <= IR_MAX_TERMS, "affine with %d terms", at->count);
    for (int i = 0; i < at->count; i++)
        CHECK(c, loop_open(c, at->term[i].loop, c->at), "index of loop %d, not open",
              at->term[i].loop);
}

static void check_access(checker *c, const ir_access *access, bool write) {
    const ir_kernel *k = c->k;
    CHECK(c, access->param >= 0 && access->param < (int32_t)k->param_count, "parameter %d",
          access->param);
    if (write) {
        CHECK(c, k->params[access->param].written, "store to a read-only parameter");
        ir_dtype dtype = k->params[access->param].dtype;
        CHECK(c, dtype == IR_F32 || dtype == IR_BF16 || dtype == IR_I32, "store of %s",
              ir_dtype_name(dtype));
    }
    check_affine(c, &access->at);
    CHECK(c, access->guard_count >= 0 && access->guard_count <= IR_MAX_GUARDS, "%d guards",
          access->guard_count);
    for (int i = 0; i < access->guard_count; i++)
        check_affine(c, &access->guard[i].value);
    if (access->table < 0) return;
    CHECK(c, access->table < (int32_t)k->param_count, "table parameter %d", access->table);
    CHECK(c, k->params[access->table].dtype == IR_I32, "table of %s",
          ir_dtype_name(k->params[access->table].dtype));
    CHECK(c, access->table_wrap > 0, "table wraps at %lld", (long long)access->table_wrap);
    check_affine(c, &access->table_at);
}

/* --- statements --- */

static const ir_stmt *check_operand(checker *c, int32_t operand) {
    CHECK(c, visible(c, operand, c->at, c->parent[c->at]), "operand %%%d is not visible", operand);
    return &c->k->stmts[operand];
}

static void check_fits(checker *c, const ir_stmt *from, const ir_stmt *to) {
    CHECK(c, broadcasts(c->k, from->rows, to->rows) && broadcasts(c->k, from->cols, to->cols),
          "operand %%%d does not broadcast to the statement's tile", (int)(from - c->k->stmts));
}

static void check_loop(checker *c, const ir_stmt *s) {
    const ir_kernel *k = c->k;
    CHECK(c, s->loop >= 0 && s->loop < (int32_t)k->loop_count, "loop %d", s->loop);
    const ir_loop *l = &k->loops[s->loop];
    CHECK(c, l->extent > 0 && l->step > 0 && l->halo >= 0, "loop extent %lld step %lld",
          (long long)l->extent, (long long)l->step);
    CHECK(c, c->owner[s->loop] == c->at, "loop %d runs twice", s->loop);
    if (l->within >= 0) {
        CHECK(c, l->within < (int32_t)k->loop_count && loop_open(c, l->within, c->at),
              "runs over a step of loop %d, not open", l->within);
        const ir_loop *o = &k->loops[l->within];
        CHECK(c, l->extent == (o->step < o->extent ? o->step : o->extent) && !l->halo,
              "extent %lld over steps of %lld", (long long)l->extent, (long long)o->step);
    }
    if (!l->parallel) return;
    CHECK(c, s->op == IR_TILE_loop && l->within < 0, "parallel matmul or part");
    CHECK(c, c->parent[c->at] == c->at - 1, "parallel loop not directly inside the outer one");
    CHECK(c, c->at == 0 || k->loops[k->stmts[c->at - 1].loop].parallel,
          "parallel loop inside a serial one");
    CHECK(c, s->end == (int32_t)k->stmt_count, "statements after a parallel loop");
}

static void check_carry(checker *c, const ir_stmt *s) {
    int32_t loop = c->parent[c->at];
    CHECK(c, loop >= 0 && c->k->stmts[loop].op == IR_TILE_loop, "carry outside of a loop");
    CHECK(c, !c->k->loops[c->k->stmts[loop].loop].parallel, "carry of a parallel loop");
    check_extent(c, s->rows, loop);
    check_extent(c, s->cols, loop);
    CHECK(c, visible(c, s->operand[0], loop, c->parent[loop]), "carry starts from %%%d",
          s->operand[0]);
    CHECK(c, visible(c, s->operand[1], c->k->stmts[loop].end, loop), "carry goes on with %%%d",
          s->operand[1]);
    check_fits(c, &c->k->stmts[s->operand[0]], s);
    check_fits(c, &c->k->stmts[s->operand[1]], s);
}

static void check_matmul(checker *c, const ir_stmt *s) {
    check_loop(c, s);
    if (s->operand[0] != IR_NO_STMT) check_fits(c, check_operand(c, s->operand[0]), s);
    for (int i = 1; i <= 2; i++) {
        int32_t operand = s->operand[i];
        CHECK(c, operand > c->at && operand < s->end && c->parent[operand] == c->at,
              "operand %%%d is not in the body", operand);
    }
    const ir_stmt *a = &c->k->stmts[s->operand[1]], *b = &c->k->stmts[s->operand[2]];
    CHECK(c, is_one(c->k, a->cols) && broadcasts(c->k, a->rows, s->rows), "left operand's tile");
    CHECK(c, is_one(c->k, b->rows) && broadcasts(c->k, b->cols, s->cols), "right operand's tile");
    for (int32_t i = c->at + 1; i < s->end; i++) {
        ir_tile_kind kind = ir_tile_get(c->k->stmts[i].op)->kind;
        CHECK(c, kind == IR_TILE_MAP || kind == IR_TILE_VALUE, "matmul body holds a %s",
              ir_tile_get(c->k->stmts[i].op)->name);
    }
}

static void check_window(checker *c, const ir_stmt *s) {
    const ir_window *w = s->window;
    CHECK(c, w != NULL, "no window");
    CHECK(c, w->kernel_h % 2 == 1 && w->kernel_w % 2 == 1 && w->kernel_h > 0 && w->kernel_w > 0,
          "window of %dx%d", w->kernel_h, w->kernel_w);
    CHECK(c, w->height > 0 && w->width > 0, "empty image");
    CHECK(c, loop_open(c, w->loop_y, c->at), "line loop %d is not open", w->loop_y);
    const ir_loop *y = &c->k->loops[w->loop_y];
    CHECK(c, y->step == 1, "lines in steps of %lld", (long long)y->step);
    check_access(c, &w->image, false);
    if (s->op == IR_TILE_window) {
        CHECK(c, loop_open(c, w->loop_x, c->at), "pixel loop %d is not open", w->loop_x);
        const ir_loop *x = &c->k->loops[w->loop_x];
        CHECK(c, y->extent == w->height && x->extent == w->width, "loops do not cover the image");
        CHECK(c, same_extent(c->k, s->rows, IR_STEP_OF(w->loop_x)), "rows are not the pixel step");
        check_access(c, &w->weight, false);
    } else {
        CHECK(c, y->extent == w->kernel_h, "line loop does not cover the window");
        CHECK(c, same_extent(c->k, s->rows, IR_FIXED(w->kernel_w)), "rows are not the taps");
        check_access(c, &w->other, false);
    }
    if (s->operand[0] != IR_NO_STMT) check_fits(c, check_operand(c, s->operand[0]), s);
}

static void check_map(checker *c, const ir_stmt *s) {
    int count = ir_tile_get(s->op)->operands;
    bool rows = is_one(c->k, s->rows), cols = is_one(c->k, s->cols);
    for (int i = 0; i < count; i++) {
        const ir_stmt *x = check_operand(c, s->operand[i]);
        check_fits(c, x, s);
        rows = rows || !is_one(c->k, x->rows);
        cols = cols || !is_one(c->k, x->cols);
    }
    CHECK(c, rows && cols, "tile is larger than its operands");
}

static void check_fold(checker *c, const ir_stmt *s) {
    const ir_stmt *x = check_operand(c, s->operand[0]);
    bool over_rows = s->op == IR_TILE_sum_rows || s->op == IR_TILE_max_rows;
    CHECK(c,
          same_extent(c->k, s->rows, over_rows ? IR_FIXED(1) : x->rows) &&
              same_extent(c->k, s->cols, over_rows ? x->cols : IR_FIXED(1)),
          "fold has the wrong tile");
}

static void check_value(checker *c, const ir_stmt *s) {
    switch (s->op) {
    case IR_TILE_carry: check_carry(c, s); return;
    case IR_TILE_constant:
        CHECK(c, is_one(c->k, s->rows) && is_one(c->k, s->cols), "constant is no single number");
        return;
    case IR_TILE_load: check_access(c, &s->access, false); return;
    case IR_TILE_iota: check_affine(c, &s->access.at); return;
    case IR_TILE_uniform:
        CHECK(c,
              s->access.param >= 0 && s->access.param < (int32_t)c->k->param_count &&
                  c->k->params[s->access.param].dtype == IR_I64,
              "uniform without scalars");
        check_affine(c, &s->access.at);
        check_affine(c, &s->sample);
        return;
    default: FAIL(c, "%s is no value", ir_tile_get(s->op)->name);
    }
}

static void check_stmt(checker *c) {
    const ir_stmt *s = &c->k->stmts[c->at];
    int32_t parent = c->parent[c->at];
    int32_t limit = parent < 0 ? (int32_t)c->k->stmt_count : c->k->stmts[parent].end;
    CHECK(c, s->end > c->at && s->end <= limit, "body ends at %d of %d", s->end, limit);
    ir_tile_kind kind = ir_tile_get(s->op)->kind;
    if (kind != IR_TILE_REGION) CHECK(c, s->end == c->at + 1, "body of a plain statement");
    if (s->op == IR_TILE_loop) {
        check_loop(c, s);
        return;
    }
    if (s->op != IR_TILE_carry) {
        check_extent(c, s->rows, c->at);
        check_extent(c, s->cols, c->at);
    }
    switch (kind) {
    case IR_TILE_REGION: check_matmul(c, s); return;
    case IR_TILE_VALUE: check_value(c, s); return;
    case IR_TILE_MAP: check_map(c, s); return;
    case IR_TILE_EFFECT:
        check_access(c, &s->access, true);
        check_fits(c, check_operand(c, s->operand[0]), s);
        return;
    case IR_TILE_FOLD:
        if (s->window)
            check_window(c, s);
        else
            check_fold(c, s);
        return;
    }
}

static void check_kernel(checker *c, const ir_kernel *k) {
    c->k = k;
    c->at = -1;
    CHECK(c, k->stmt_count > 0, "empty kernel");
    c->parent = ir_arena_alloc(c->scratch, (k->stmt_count + 1) * sizeof *c->parent);
    c->owner = ir_arena_alloc(c->scratch, (k->loop_count + 1) * sizeof *c->owner);
    for (size_t i = 0; i < k->loop_count; i++)
        c->owner[i] = -1;
    int32_t open = -1;
    for (int32_t i = 0; i < (int32_t)k->stmt_count; i++) {
        while (open >= 0 && k->stmts[open].end <= i)
            open = c->parent[open];
        c->parent[i] = open;
        if (ir_tile_get(k->stmts[i].op)->kind != IR_TILE_REGION) continue;
        open = i;
        int32_t loop = k->stmts[i].loop;
        if (loop >= 0 && loop < (int32_t)k->loop_count) c->owner[loop] = i;
    }
    for (c->at = 0; c->at < (int32_t)k->stmt_count; c->at++)
        check_stmt(c);
    c->at = -1;
    int64_t tasks = 1;
    for (size_t i = 0; i < k->loop_count; i++) {
        CHECK(c, c->owner[i] >= 0, "loop %zu is never run", i);
        if (k->loops[i].parallel)
            tasks *= (k->loops[i].extent + k->loops[i].step - 1) / k->loops[i].step;
    }
    CHECK(c, tasks == k->tasks, "tasks %lld, loops make %lld", (long long)k->tasks,
          (long long)tasks);
    CHECK(c, k->hash == ir_kernel_hash(k), "stale hash");
}

/* Codegen makes functions of these names. */
static void check_names(checker *c) {
    const ir_plan *plan = c->plan;
    c->k = NULL;
    c->at = -1;
    for (size_t i = 0; i < plan->kernel_count; i++) {
        const char *name = plan->kernels[i].name;
        bool identifier = name[0] && !isdigit((unsigned char)name[0]);
        for (const char *p = name; *p; p++)
            identifier = identifier && (isalnum((unsigned char)*p) || *p == '_');
        CHECK(c, identifier, "kernel name '%s'", name);
        for (size_t j = 0; j < i; j++)
            CHECK(c, strcmp(plan->kernels[j].name, name) != 0, "two kernels named %s", name);
    }
}

/* --- buffers --- */

/* Parameters of a training plan lie densely at the start of the state. */
static bool is_parameter(const ir_plan *plan, size_t id) {
    for (size_t i = 0; i < plan->weight_count; i++)
        if (plan->weights[i].buffer == (int32_t)id) return true;
    return false;
}

static void check_inside(checker *c, size_t id, int64_t limit) {
    const ir_buffer *b = &c->plan->buffers[id];
    int64_t grain = is_parameter(c->plan, id) ? 4 : 64;
    CHECK(c, b->offset >= 0 && b->offset % grain == 0, "buffer #%zu at offset %lld", id,
          (long long)b->offset);
    CHECK(c, b->bytes <= limit && b->offset <= limit - b->bytes,
          "buffer #%zu ends at %lld of %lld bytes", id, (long long)(b->offset + b->bytes),
          (long long)limit);
}

/* Two arena buffers may share bytes only if one takes over the other's place where it dies. */
static void check_apart(checker *c, size_t i, size_t j) {
    const ir_buffer *a = &c->plan->buffers[i], *b = &c->plan->buffers[j];
    if (b->class != IR_BUFFER_ARENA || b->last < b->first || b->first < 0) return;
    if (a->offset >= b->offset + b->bytes || b->offset >= a->offset + a->bytes) return;
    if (a->last < b->first || b->last < a->first) return;
    bool handed_on = (a->last == b->first || b->last == a->first) && a->offset == b->offset;
    CHECK(c, handed_on, "buffers #%zu and #%zu share memory in regions %d..%d and %d..%d", i, j,
          a->first, a->last, b->first, b->last);
}

static void check_buffers(checker *c) {
    const ir_plan *plan = c->plan;
    for (size_t i = 0; i < plan->buffer_count; i++) {
        const ir_buffer *b = &plan->buffers[i];
        CHECK(c, b->bytes > 0, "buffer #%zu is empty", i);
        switch (b->class) {
        case IR_BUFFER_INPUT:
        case IR_BUFFER_OUTPUT:
            CHECK(c, b->index >= 0, "buffer #%zu has io index %d", i, b->index);
            for (size_t j = 0; j < i; j++)
                CHECK(c,
                      plan->buffers[j].index != b->index ||
                          (plan->buffers[j].class != IR_BUFFER_INPUT &&
                           plan->buffers[j].class != IR_BUFFER_OUTPUT),
                      "buffers #%zu and #%zu are both io %d", j, i, b->index);
            break;
        case IR_BUFFER_STATE: check_inside(c, i, plan->state_bytes); break;
        case IR_BUFFER_PRIVATE: check_inside(c, i, plan->private_bytes); break;
        case IR_BUFFER_ARENA:
            check_inside(c, i, plan->arena_bytes);
            if (b->last < b->first || b->first < 0) break;
            for (size_t j = i + 1; j < plan->buffer_count; j++)
                check_apart(c, i, j);
            break;
        case IR_BUFFER_WEIGHTS:
            CHECK(c, b->bytes <= plan->weights_elements * 4, "buffer #%zu exceeds the weights", i);
            break;
        case IR_BUFFER_SCALARS:
            CHECK(c, b->bytes == 24, "scalars of %lld bytes", (long long)b->bytes);
            break;
        }
    }
    CHECK(c, plan->workers >= 1, "%lld workers", (long long)plan->workers);
    CHECK(c, plan->workspace_bytes == plan->arena_bytes + plan->workers * plan->private_bytes,
          "workspace of %lld bytes", (long long)plan->workspace_bytes);
    CHECK(c,
          plan->state_bytes % 64 == 0 && plan->arena_bytes % 64 == 0 &&
              plan->private_bytes % 64 == 0,
          "memory is no multiple of 64");
}

/* --- calls --- */

typedef struct span {
    int64_t low, high;
} span; /* elements, both included */

/* A loop's steps that are run: all, or one of a task. */
typedef struct step_range {
    int64_t first, last;
} step_range;

typedef struct reach {
    const ir_affine *at;
    ir_extent rows, cols;
    int64_t row_stride, col_stride;
    int32_t skip_y, skip_x; /* loops whose value counts as 0, or -1 */
} reach;

static void widen(span *s, int64_t stride, int64_t count) {
    if (stride < 0)
        s->low += stride * (count - 1);
    else
        s->high += stride * (count - 1);
}

static int64_t trips(int64_t extent, int64_t step) {
    return (extent + step - 1) / step;
}

/* What loop l adds to the element offset over its steps, with the loops that run within them;
 * `extent` is its own here. */
static span loop_part(const ir_kernel *k, const reach *r, int32_t l, step_range steps,
                      int64_t extent) {
    int64_t factor = 0;
    for (int i = 0; i < r->at->count; i++)
        if (r->at->term[i].loop == l && l != r->skip_y && l != r->skip_x)
            factor += r->at->term[i].factor;
    const ir_loop *loop = &k->loops[l];
    span all = {INT64_MAX, INT64_MIN};
    int64_t places[3] = {steps.first, steps.last > steps.first ? steps.last - 1 : steps.first,
                         steps.last};
    for (int i = 0; i < 3; i++) {
        int64_t value = places[i] * loop->step;
        int64_t size = extent - value < loop->step ? extent - value : loop->step;
        span here = {factor * value, factor * value};
        if (r->rows.loop == l) widen(&here, r->row_stride, size);
        if (r->cols.loop == l) widen(&here, r->col_stride, size);
        for (size_t in = 0; in < k->loop_count; in++) {
            if (k->loops[in].within != l) continue;
            step_range whole = {0, trips(size, k->loops[in].step) - 1};
            span part = loop_part(k, r, (int32_t)in, whole, size);
            here.low += part.low;
            here.high += part.high;
        }
        if (here.low < all.low) all.low = here.low;
        if (here.high > all.high) all.high = here.high;
    }
    return all;
}

static span reach_of(const ir_kernel *k, const reach *r, const step_range *steps) {
    span all = {r->at->base, r->at->base};
    for (size_t l = 0; l < k->loop_count; l++) {
        if (k->loops[l].within >= 0) continue; /* counted with that one */
        span part = loop_part(k, r, (int32_t)l, steps[l], k->loops[l].extent);
        all.low += part.low;
        all.high += part.high;
    }
    if (r->rows.loop < 0) widen(&all, r->row_stride, r->rows.fixed);
    if (r->cols.loop < 0) widen(&all, r->col_stride, r->cols.fixed);
    return all;
}

typedef struct call_check {
    checker *c;
    const ir_region *region;
    const ir_call *call;
    step_range *steps; /* per loop */
    int64_t task;      /* for private buffers */
    bool privates;     /* check private buffers now; else the others */
} call_check;

static void check_span(call_check *cc, int32_t param, span s) {
    checker *c = cc->c;
    const ir_argument *argument = &cc->call->arguments[param];
    const ir_buffer *b = &c->plan->buffers[argument->buffer];
    int64_t size = (int64_t)ir_dtype_size(c->k->params[param].dtype);
    int64_t start = argument->offset;
    if (b->class == IR_BUFFER_PRIVATE) start -= cc->task * b->bytes;
    CHECK(c, start + s.low * size >= 0 && start + (s.high + 1) * size <= b->bytes,
          "parameter %s reaches bytes %lld..%lld of buffer #%d (%s), which has %lld",
          c->k->params[param].name, (long long)(start + s.low * size),
          (long long)(start + (s.high + 1) * size), argument->buffer, b->name ? b->name : "-",
          (long long)b->bytes);
}

static bool due(const call_check *cc, int32_t param) {
    const ir_buffer *b = &cc->c->plan->buffers[cc->call->arguments[param].buffer];
    return (b->class == IR_BUFFER_PRIVATE) == cc->privates;
}

static void check_reach(call_check *cc, const ir_access *a, ir_extent rows, ir_extent cols) {
    if (a->guard_count || a->table >= 0 || !due(cc, a->param)) return;
    reach r = {&a->at, rows, cols, a->row_stride, a->col_stride, -1, -1};
    check_span(cc, a->param, reach_of(cc->c->k, &r, cc->steps));
}

/* An image or window of lines: its first element's reach widened by lines and pixels. */
static void check_plane(call_check *cc, const ir_stmt *s, const ir_access *a, int64_t lines,
                        int64_t line_stride, int64_t pixels) {
    if (a->guard_count || a->table >= 0 || !due(cc, a->param)) return;
    reach r = {&a->at,        IR_FIXED(1),       s->cols,          0,
               a->col_stride, s->window->loop_y, s->window->loop_x};
    span all = reach_of(cc->c->k, &r, cc->steps);
    widen(&all, line_stride, lines);
    widen(&all, a->row_stride, pixels);
    check_span(cc, a->param, all);
}

static void check_accesses(call_check *cc) {
    const ir_kernel *k = cc->c->k;
    for (size_t i = 0; i < k->stmt_count; i++) {
        const ir_stmt *s = &k->stmts[i];
        cc->c->at = (int32_t)i;
        if (s->op == IR_TILE_load || s->op == IR_TILE_store) {
            check_reach(cc, &s->access, s->rows, s->cols);
        } else if (s->op == IR_TILE_uniform) {
            if (due(cc, s->access.param)) check_span(cc, s->access.param, (span){1, 2});
        } else if (s->window) {
            const ir_window *w = s->window;
            check_plane(cc, s, &w->image, w->height, w->line_stride, w->width);
            if (s->op == IR_TILE_window)
                check_plane(cc, s, &w->weight, w->kernel_h, w->tap_line, w->kernel_w);
            else
                check_plane(cc, s, &w->other, w->height, w->other_line, w->width);
        }
    }
    cc->c->at = -1;
}

/* Sets the steps of the parallel loops to those of one kernel task. */
static void set_task(call_check *cc, int64_t task) {
    const ir_kernel *k = cc->c->k;
    for (size_t i = k->stmt_count; i-- > 0;) {
        if (k->stmts[i].op != IR_TILE_loop || !k->loops[k->stmts[i].loop].parallel) continue;
        int32_t l = k->stmts[i].loop;
        int64_t count = trips(k->loops[l].extent, k->loops[l].step);
        int64_t index = task % count;
        task /= count;
        cc->steps[l] = (step_range){index, index};
    }
}

static void check_argument(checker *c, const ir_argument *argument, const ir_param *param,
                           bool init) {
    const ir_plan *plan = c->plan;
    CHECK(c, argument->buffer >= 0 && argument->buffer < (int32_t)plan->buffer_count,
          "argument %s is buffer #%d", param->name, argument->buffer);
    const ir_buffer *b = &plan->buffers[argument->buffer];
    CHECK(c, argument->offset >= 0 && argument->offset % (int64_t)ir_dtype_size(param->dtype) == 0,
          "argument %s at byte %lld", param->name, (long long)argument->offset);
    bool io = b->class == IR_BUFFER_INPUT || b->class == IR_BUFFER_OUTPUT ||
              b->class == IR_BUFFER_SCALARS;
    CHECK(c, init ? !io : b->class != IR_BUFFER_WEIGHTS, "buffer #%d is out of reach of %s",
          argument->buffer, init ? "init" : "main");
    if (b->class != IR_BUFFER_SCALARS)
        CHECK(c, b->dtype == param->dtype, "argument %s of %s is bound to buffer #%d of %s",
              param->name, ir_dtype_name(param->dtype), argument->buffer, ir_dtype_name(b->dtype));
    if (!param->written) return;
    bool writable = b->class == IR_BUFFER_OUTPUT || b->class == IR_BUFFER_ARENA ||
                    b->class == IR_BUFFER_PRIVATE ||
                    (b->class == IR_BUFFER_STATE && (init || plan->kind == IR_KIND_TRAIN));
    CHECK(c, writable, "buffer #%d may not be written here", argument->buffer);
}

enum { TASKS_CHECKED = 4096 }; /* of one region task; more are sampled */

static void check_call(call_check *cc, bool init) {
    checker *c = cc->c;
    CHECK(c, cc->call->kernel >= 0 && cc->call->kernel < (int32_t)c->plan->kernel_count,
          "call of kernel %d", cc->call->kernel);
    const ir_kernel *k = c->k = &c->plan->kernels[cc->call->kernel];
    CHECK(c, cc->region->spread || k->tasks % cc->region->tasks == 0,
          "%lld tasks in a region of %lld", (long long)k->tasks, (long long)cc->region->tasks);
    bool privates = false;
    for (size_t a = 0; a < k->param_count; a++) {
        check_argument(c, &cc->call->arguments[a], &k->params[a], init);
        const ir_buffer *b = &c->plan->buffers[cc->call->arguments[a].buffer];
        privates = privates || b->class == IR_BUFFER_PRIVATE;
    }
    CHECK(c, !privates || !cc->region->spread, "a private buffer in a region that spreads");
    cc->steps = ir_arena_alloc(c->scratch, (k->loop_count + 1) * sizeof *cc->steps);
    for (size_t l = 0; l < k->loop_count; l++)
        cc->steps[l] = (step_range){0, trips(k->loops[l].extent, k->loops[l].step) - 1};
    cc->privates = false;
    check_accesses(cc);
    if (!privates) return;
    cc->privates = true;
    int64_t share = k->tasks / cc->region->tasks;
    int64_t stride = share > TASKS_CHECKED ? share - 1 : 1;
    int64_t task[2] = {0, cc->region->tasks - 1};
    for (int i = 0; i < 2; i++)
        for (int64_t t = 0; t < share; t += stride) {
            cc->task = task[i];
            set_task(cc, task[i] * share + t);
            check_accesses(cc);
        }
}

/* Calls of a region that spreads: none writes what another reads or writes. */
static void check_independent(checker *c, const ir_region *region, size_t index) {
    int32_t *writer = ir_arena_alloc(c->scratch, (c->plan->buffer_count + 1) * sizeof *writer);
    for (size_t i = 0; i < region->call_count; i++)
        for (size_t a = 0; a < c->plan->kernels[region->calls[i].kernel].param_count; a++)
            if (c->plan->kernels[region->calls[i].kernel].params[a].written)
                writer[region->calls[i].arguments[a].buffer] = (int32_t)i + 1;
    for (size_t i = 0; i < region->call_count; i++)
        for (size_t a = 0; a < c->plan->kernels[region->calls[i].kernel].param_count; a++) {
            int32_t b = region->calls[i].arguments[a].buffer;
            CHECK(c, writer[b] == 0 || writer[b] == (int32_t)i + 1,
                  "region %zu spreads, but its calls share buffer #%d", index, b);
        }
}

static void check_regions(checker *c, const ir_region *regions, size_t count, bool init) {
    for (size_t r = 0; r < count; r++) {
        CHECK(c, regions[r].tasks >= 1, "region %zu has %lld tasks", r,
              (long long)regions[r].tasks);
        if (regions[r].spread) check_independent(c, &regions[r], r);
        for (size_t i = 0; i < regions[r].call_count; i++) {
            call_check cc = {.c = c, .region = &regions[r], .call = &regions[r].calls[i]};
            check_call(&cc, init);
        }
    }
    c->k = NULL;
}

void ir_plan_verify(const ir_plan *plan) {
    checker c = {.plan = plan, .at = -1, .scratch = ir_arena_new()};
    for (size_t i = 0; i < plan->kernel_count; i++)
        check_kernel(&c, &plan->kernels[i]);
    check_names(&c);
    check_buffers(&c);
    check_regions(&c, plan->init, plan->init_count, true);
    check_regions(&c, plan->main, plan->main_count, false);
    ir_arena_free(c.scratch);
}
