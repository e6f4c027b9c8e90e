/* Values of tiles: loads, maps, folds, one element vector at a time; and stores. */
#include "cg_emit.h"
#include "cg_math.h"

#include <string.h>

int64_t cg_extent(const cg_emit *e, ir_extent extent) {
    return extent.loop < 0 ? extent.fixed : e->loops[extent.loop].size;
}

cg_cut cg_cut_columns(const cg_emit *e, int64_t cols) {
    cg_cut cut = {0};
    int64_t lanes = e->m->machine->facts.lanes, at = 0;
    int64_t room = cols / lanes + 8;
    cut.width = ir_arena_alloc(e->arena, (size_t)room * sizeof *cut.width);
    cut.first = ir_arena_alloc(e->arena, (size_t)room * sizeof *cut.first);
    for (int64_t width = lanes; width > 0; width /= 2)
        while (cols - at >= width) {
            cut.width[cut.count] = width;
            cut.first[cut.count++] = at;
            at += width;
        }
    return cut;
}

void cg_forget(cg_emit *e, int32_t first, int32_t end, bool addresses) {
    for (int32_t s = first; s < end; s++) {
        e->tile[s] = (cg_element){0};
        if (addresses) e->base[s] = NULL;
    }
}

static cg_element *shape(cg_emit *e, int32_t stmt) {
    cg_element *t = &e->tile[stmt];
    const ir_stmt *s = &e->k->stmts[stmt];
    if (t->vector) return t;
    t->rows = cg_extent(e, s->rows);
    t->vectors = cg_cut_columns(e, cg_extent(e, s->cols)).count;
    t->vector = ir_arena_alloc(e->arena, (size_t)(t->rows * t->vectors) * sizeof *t->vector);
    return t;
}

void cg_set(cg_emit *e, int32_t stmt, int64_t row, int vector, LLVMValueRef value) {
    cg_element *t = shape(e, stmt);
    t->vector[row * t->vectors + vector] = value;
}

/* ---- addresses ---- */

LLVMValueRef cg_affine(cg_emit *e, const ir_affine *at, int64_t *constant) {
    LLVMValueRef sum = NULL;
    *constant = at->base;
    for (int loop = 0; loop < (int)e->k->loop_count; loop++) /* outer loops first: they hoist */
        for (int i = 0; i < at->count; i++) {
            if (at->term[i].loop != loop) continue;
            const cg_loop *l = &e->loops[loop];
            *constant += at->term[i].factor * l->add;
            if (l->dynamic) sum = cg_offset(e->m, sum, l->dynamic, at->term[i].factor);
        }
    return sum;
}

static LLVMTypeRef element_type(const cg_emit *e, int32_t param) {
    switch (e->k->params[param].dtype) {
    case IR_F32: return e->m->f32;
    case IR_BF16: return e->m->i16;
    case IR_I64: return e->m->i64;
    case IR_I32: return e->m->i32;
    case IR_DTYPE_COUNT: break;
    }
    IR_BUG("element type");
}

LLVMValueRef cg_element_at(cg_emit *e, int32_t param, LLVMValueRef base, int64_t offset) {
    if (offset == 0) return base;
    LLVMValueRef index = cg_int(e->m, offset);
    return LLVMBuildGEP2(e->m->builder, element_type(e, param), base, &index, 1, "");
}

/* One GEP per loop, outermost first, so that what is invariant in a loop leaves it. */
LLVMValueRef cg_pointer(cg_emit *e, const ir_access *access) {
    LLVMValueRef pointer = e->params[access->param];
    LLVMTypeRef type = element_type(e, access->param);
    for (int loop = 0; loop < (int)e->k->loop_count; loop++)
        for (int i = 0; i < access->at.count; i++) {
            const cg_loop *l = &e->loops[loop];
            if (access->at.term[i].loop != loop || !l->dynamic) continue;
            LLVMValueRef index = cg_offset(e->m, NULL, l->dynamic, access->at.term[i].factor);
            pointer = LLVMBuildGEP2(e->m->builder, type, pointer, &index, 1, "");
        }
    if (access->table < 0) return pointer;
    int64_t constant;
    LLVMValueRef at = cg_affine(e, &access->table_at, &constant);
    LLVMValueRef entry = e->params[access->table];
    if (at) entry = LLVMBuildGEP2(e->m->builder, e->m->i32, entry, &at, 1, "");
    entry = cg_element_at(e, access->table, entry, constant);
    LLVMValueRef place = LLVMBuildLoad2(e->m->builder, e->m->i32, entry, "");
    LLVMValueRef wrap = cg_int32(e->m, access->table_wrap, 1);
    LLVMValueRef line = LLVMBuildUDiv(e->m->builder, place, wrap, "");
    place = LLVMBuildURem(e->m->builder, place, wrap, "");
    line = LLVMBuildSExt(e->m->builder, line, e->m->i64, "");
    place = LLVMBuildSExt(e->m->builder, place, e->m->i64, "");
    place = cg_offset(e->m, NULL, place, access->table_scale);
    place = cg_offset(e->m, place, line, access->table_line);
    return LLVMBuildGEP2(e->m->builder, type, pointer, &place, 1, "");
}

static int64_t constant_of(const cg_emit *e, const ir_affine *at) {
    int64_t sum = at->base;
    for (int i = 0; i < at->count; i++)
        sum += at->term[i].factor * e->loops[at->term[i].loop].add;
    return sum;
}

/* ---- memory ---- */

static LLVMValueRef to_f32(cg_emit *e, LLVMValueRef raw, ir_dtype dtype, int64_t width) {
    LLVMBuilderRef b = e->m->builder;
    if (dtype == IR_F32) return raw;
    if (dtype != IR_BF16) return LLVMBuildSIToFP(b, raw, cg_vector(e->m, e->m->f32, width), "");
    LLVMValueRef wide = LLVMBuildZExt(b, raw, cg_vector(e->m, e->m->i32, width), "");
    wide = LLVMBuildShl(b, wide, cg_int32(e->m, 16, width), "");
    return LLVMBuildBitCast(b, wide, cg_vector(e->m, e->m->f32, width), "");
}

/* bf16 by round to nearest even; NaN keeps its top bits and a quiet bit. */
static LLVMValueRef from_f32(cg_emit *e, LLVMValueRef x, ir_dtype dtype) {
    LLVMBuilderRef b = e->m->builder;
    int64_t w = cg_width(x);
    if (dtype == IR_F32) return x;
    if (dtype == IR_I32) return LLVMBuildFPToSI(b, x, cg_vector(e->m, e->m->i32, w), "");
    IR_ASSERT(dtype == IR_BF16);
    LLVMValueRef bits = LLVMBuildBitCast(b, x, cg_vector(e->m, e->m->i32, w), "");
    LLVMValueRef sixteen = cg_int32(e->m, 16, w);
    LLVMValueRef odd =
        LLVMBuildAnd(b, LLVMBuildLShr(b, bits, sixteen, ""), cg_int32(e->m, 1, w), "");
    LLVMValueRef up =
        LLVMBuildAdd(b, LLVMBuildAdd(b, bits, cg_int32(e->m, 0x7fff, w), ""), odd, "");
    LLVMValueRef nan = LLVMBuildOr(b, bits, cg_int32(e->m, 0x400000, w), "");
    up = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), nan, up, "");
    return LLVMBuildTrunc(b, LLVMBuildLShr(b, up, sixteen, ""), cg_vector(e->m, e->m->i16, w), "");
}

static LLVMValueRef lane(const cg_emit *e, int64_t i) {
    return LLVMConstInt(e->m->i32, (unsigned long long)i, false);
}

LLVMValueRef cg_load_vector(cg_emit *e, int32_t param, LLVMValueRef base, int64_t offset,
                            int64_t width, int64_t stride) {
    LLVMBuilderRef b = e->m->builder;
    ir_dtype dtype = e->k->params[param].dtype;
    LLVMTypeRef element = element_type(e, param), type = cg_vector(e->m, element, width);
    unsigned align = (unsigned)ir_dtype_size(dtype);
    LLVMValueRef raw;
    if (width == 1 || stride == 1) {
        raw = LLVMBuildLoad2(b, type, cg_element_at(e, param, base, offset), "");
        LLVMSetAlignment(raw, align);
    } else {
        raw = LLVMGetPoison(type);
        for (int64_t i = 0; i < width; i++) {
            LLVMValueRef one =
                LLVMBuildLoad2(b, element, cg_element_at(e, param, base, offset + i * stride), "");
            LLVMSetAlignment(one, align);
            raw = LLVMBuildInsertElement(b, raw, one, lane(e, i), "");
        }
    }
    return to_f32(e, raw, dtype, width);
}

static void store_vector(cg_emit *e, int32_t param, LLVMValueRef base, int64_t offset,
                         int64_t stride, LLVMValueRef value) {
    LLVMBuilderRef b = e->m->builder;
    ir_dtype dtype = e->k->params[param].dtype;
    unsigned align = (unsigned)ir_dtype_size(dtype);
    int64_t width = cg_width(value);
    LLVMValueRef raw = from_f32(e, value, dtype);
    if (width == 1 || stride == 1) {
        LLVMSetAlignment(LLVMBuildStore(b, raw, cg_element_at(e, param, base, offset)), align);
        return;
    }
    for (int64_t i = 0; i < width; i++) {
        LLVMValueRef one = LLVMBuildExtractElement(b, raw, lane(e, i), "");
        LLVMValueRef to = cg_element_at(e, param, base, offset + i * stride);
        LLVMSetAlignment(LLVMBuildStore(b, one, to), align);
    }
}

/* 1: always inside, 0: never, -1: `*test` decides. */
static int guard_of(cg_emit *e, const ir_access *access, LLVMValueRef *test) {
    LLVMBuilderRef b = e->m->builder;
    *test = NULL;
    for (int g = 0; g < access->guard_count; g++) {
        int64_t constant;
        LLVMValueRef value = cg_affine(e, &access->guard[g].value, &constant);
        if (!value) {
            if (constant < 0 || constant >= access->guard[g].limit) return 0;
            continue;
        }
        value = LLVMBuildAdd(b, value, cg_int(e->m, constant), "");
        LLVMValueRef limit = cg_int(e->m, access->guard[g].limit);
        LLVMValueRef in = LLVMBuildICmp(b, LLVMIntULT, value, limit, "");
        *test = *test ? LLVMBuildAnd(b, *test, in, "") : in;
    }
    return *test ? -1 : 1;
}

static LLVMBasicBlockRef block(cg_emit *e) {
    return LLVMAppendBasicBlockInContext(e->m->context, e->function, "");
}

static LLVMValueRef *load_all(cg_emit *e, int32_t stmt, cg_cut cut) {
    const ir_stmt *s = &e->k->stmts[stmt];
    const ir_access *a = &s->access;
    cg_element *t = shape(e, stmt);
    int64_t constant = constant_of(e, &a->at);
    LLVMValueRef *all = ir_arena_alloc(e->arena, (size_t)(t->rows * t->vectors) * sizeof *all);
    for (int64_t r = 0; r < t->rows; r++)
        for (int v = 0; v < cut.count; v++)
            all[r * cut.count + v] =
                cg_load_vector(e, a->param, e->base[stmt],
                               constant + r * a->row_stride + cut.first[v] * a->col_stride,
                               cut.width[v], a->col_stride);
    return all;
}

/* A guarded tile is loaded whole, behind one branch. */
static void load_guarded(cg_emit *e, int32_t stmt) {
    const ir_stmt *s = &e->k->stmts[stmt];
    cg_element *t = shape(e, stmt);
    cg_cut cut = cg_cut_columns(e, cg_extent(e, s->cols));
    LLVMValueRef test;
    int inside = guard_of(e, &s->access, &test), n = (int)(t->rows * t->vectors);
    LLVMBuilderRef b = e->m->builder;
    if (inside == 0) {
        for (int i = 0; i < n; i++)
            t->vector[i] = cg_number(e->m, 0, cut.width[i % cut.count]);
        return;
    }
    if (!e->base[stmt]) e->base[stmt] = cg_pointer(e, &s->access);
    if (inside == 1) {
        memcpy(t->vector, load_all(e, stmt, cut), (size_t)n * sizeof *t->vector);
        return;
    }
    LLVMBasicBlockRef from = LLVMGetInsertBlock(b), yes = block(e), after = block(e);
    LLVMBuildCondBr(b, test, yes, after);
    LLVMPositionBuilderAtEnd(b, yes);
    LLVMValueRef *all = load_all(e, stmt, cut);
    LLVMBuildBr(b, after);
    LLVMPositionBuilderAtEnd(b, after);
    for (int i = 0; i < n; i++) {
        LLVMValueRef zero = cg_number(e->m, 0, cut.width[i % cut.count]);
        LLVMValueRef phi = LLVMBuildPhi(b, LLVMTypeOf(zero), "");
        LLVMAddIncoming(phi, (LLVMValueRef[]){all[i], zero}, (LLVMBasicBlockRef[]){yes, from}, 2);
        t->vector[i] = phi;
    }
}

static LLVMValueRef load_value(cg_emit *e, int32_t stmt, int64_t row, int vector) {
    const ir_stmt *s = &e->k->stmts[stmt];
    if (s->access.guard_count) {
        load_guarded(e, stmt);
        return e->tile[stmt].vector[row * e->tile[stmt].vectors + vector];
    }
    if (!e->base[stmt]) e->base[stmt] = cg_pointer(e, &s->access);
    cg_cut cut = cg_cut_columns(e, cg_extent(e, s->cols));
    int64_t offset = constant_of(e, &s->access.at) + row * s->access.row_stride +
                     cut.first[vector] * s->access.col_stride;
    return cg_load_vector(e, s->access.param, e->base[stmt], offset, cut.width[vector],
                          s->access.col_stride);
}

/* ---- numbers from indexes ---- */

static LLVMValueRef index_value(cg_emit *e, const ir_stmt *s, int64_t row, int64_t first,
                                int64_t *constant) {
    LLVMValueRef at = cg_affine(e, &s->access.at, constant);
    *constant += row * s->access.row_stride + first * s->access.col_stride;
    return at;
}

static LLVMValueRef iota_value(cg_emit *e, const ir_stmt *s, int64_t row, int vector) {
    cg_cut cut = cg_cut_columns(e, cg_extent(e, s->cols));
    int64_t constant, w = cut.width[vector];
    LLVMValueRef at = index_value(e, s, row, cut.first[vector], &constant), lanes[64];
    for (int64_t i = 0; i < w; i++)
        lanes[i] = LLVMConstReal(e->m->f32, (double)(constant + i * s->access.col_stride));
    LLVMValueRef ramp = w == 1 ? lanes[0] : LLVMConstVector(lanes, (unsigned)w);
    if (!at) return ramp;
    LLVMValueRef start = LLVMBuildSIToFP(e->m->builder, at, e->m->f32, "");
    return cg_add(e->m, cg_splat(e->m, start, w), ramp);
}

static LLVMValueRef low_word(cg_emit *e, LLVMValueRef value) {
    return LLVMBuildTrunc(e->m->builder, value, e->m->i32, "");
}

static LLVMValueRef uniform_value(cg_emit *e, const ir_stmt *s, int64_t row, int vector) {
    LLVMBuilderRef b = e->m->builder;
    cg_cut cut = cg_cut_columns(e, cg_extent(e, s->cols));
    int32_t param = s->access.param;
    LLVMValueRef scalars = e->params[param];
    LLVMValueRef step = LLVMBuildLoad2(b, e->m->i64, cg_element_at(e, param, scalars, 1), "");
    LLVMValueRef seed = LLVMBuildLoad2(b, e->m->i64, cg_element_at(e, param, scalars, 2), "");
    LLVMValueRef high = LLVMBuildLShr(b, seed, cg_int(e->m, 32), "");
    LLVMValueRef key[2] = {low_word(e, seed), low_word(e, high)};
    int64_t constant, sample_constant;
    LLVMValueRef sample = cg_affine(e, &s->sample, &sample_constant);
    LLVMValueRef zero = cg_int(e->m, 0), result = NULL;
    sample = LLVMBuildAdd(b, sample ? sample : zero, cg_int(e->m, sample_constant), "");
    for (int64_t i = 0; i < cut.width[vector]; i++) {
        LLVMValueRef at = index_value(e, s, row, cut.first[vector] + i, &constant);
        at = LLVMBuildAdd(b, at ? at : zero, cg_int(e->m, constant), "");
        LLVMValueRef counter[4] = {low_word(e, at), low_word(e, sample),
                                   cg_int32(e->m, s->stream, 1), low_word(e, step)};
        LLVMValueRef u = cg_math_philox(e->m, counter, key);
        if (cut.width[vector] == 1) return u;
        if (!result) result = LLVMGetPoison(cg_vector(e->m, e->m->f32, cut.width[vector]));
        result = LLVMBuildInsertElement(b, result, u, lane(e, i), "");
    }
    return result;
}

/* ---- folds ---- */

static LLVMValueRef fold_columns(cg_emit *e, const ir_stmt *s, int64_t row, bool sum) {
    int32_t x = s->operand[0];
    cg_cut cut = cg_cut_columns(e, cg_extent(e, e->k->stmts[x].cols));
    LLVMValueRef total = NULL;
    for (int v = 0; v < cut.count; v++) {
        LLVMValueRef next = cg_value(e, x, row, v);
        while (total && cg_width(total) > cut.width[v])
            total = cg_halve(e->m, total, sum);
        if (!total)
            total = next;
        else
            total = sum ? cg_add(e->m, total, next) : cg_max(e->m, total, next);
    }
    while (cg_width(total) > 1)
        total = cg_halve(e->m, total, sum);
    return total;
}

static LLVMValueRef fold_rows(cg_emit *e, const ir_stmt *s, int vector, bool sum) {
    int32_t x = s->operand[0];
    int64_t rows = cg_extent(e, e->k->stmts[x].rows);
    LLVMValueRef total = cg_value(e, x, 0, vector);
    for (int64_t r = 1; r < rows; r++) {
        LLVMValueRef next = cg_value(e, x, r, vector);
        total = sum ? cg_add(e->m, total, next) : cg_max(e->m, total, next);
    }
    return total;
}

/* ---- maps ---- */

LLVMValueRef cg_operand(cg_emit *e, int32_t stmt, int64_t row, int64_t cols, int vector) {
    const ir_stmt *s = &e->k->stmts[stmt];
    if (cg_extent(e, s->rows) == 1) row = 0;
    if (cg_extent(e, s->cols) == cols) return cg_value(e, stmt, row, vector);
    IR_ASSERT(cg_extent(e, s->cols) == 1);
    return cg_splat(e->m, cg_value(e, stmt, row, 0), cg_cut_columns(e, cols).width[vector]);
}

static LLVMValueRef truth(cg_emit *e, LLVMRealPredicate test, LLVMValueRef a, LLVMValueRef b) {
    int64_t w = cg_width(a);
    return cg_select(e->m, test, a, b, cg_number(e->m, 1, w), cg_number(e->m, 0, w));
}

static LLVMValueRef map_value(cg_emit *e, const ir_stmt *s, int64_t row, int vector) {
    LLVMValueRef x[3] = {0};
    int64_t cols = cg_extent(e, s->cols);
    const cg_module *m = e->m;
    for (int i = 0; i < ir_tile_get(s->op)->operands; i++)
        x[i] = cg_operand(e, s->operand[i], row, cols, vector);
    switch ((int)s->op) {
    case IR_TILE_add: return cg_add(m, x[0], x[1]);
    case IR_TILE_sub: return cg_sub(m, x[0], x[1]);
    case IR_TILE_mul: return cg_mul(m, x[0], x[1]);
    case IR_TILE_div: return cg_div(m, x[0], x[1]);
    case IR_TILE_fma: return cg_fma(m, x[0], x[1], x[2]);
    case IR_TILE_max: return cg_max(m, x[0], x[1]);
    case IR_TILE_min: return cg_min(m, x[0], x[1]);
    case IR_TILE_sqrt: return cg_intrinsic(m, "llvm.sqrt", x, 1);
    case IR_TILE_exp: return cg_math_exp(m, x[0]);
    case IR_TILE_log: return cg_math_log(m, x[0]);
    case IR_TILE_sigmoid: return cg_math_sigmoid(m, x[0]);
    case IR_TILE_gelu: return cg_math_gelu(m, x[0]);
    case IR_TILE_gelu_slope: return cg_math_gelu_slope(m, x[0]);
    case IR_TILE_gelu_tanh: return cg_math_gelu_tanh(m, x[0]);
    case IR_TILE_gelu_tanh_slope: return cg_math_gelu_tanh_slope(m, x[0]);
    case IR_TILE_less: return truth(e, LLVMRealOLT, x[0], x[1]);
    case IR_TILE_equal: return truth(e, LLVMRealOEQ, x[0], x[1]);
    case IR_TILE_select:
        return cg_select(m, LLVMRealUNE, x[0], cg_number(m, 0, cg_width(x[0])), x[1], x[2]);
    case IR_TILE_one_minus_pow: return cg_math_one_minus_pow(m, x[0], x[1]);
    }
    IR_BUG("%s is no map", ir_tile_get(s->op)->name);
}

static LLVMValueRef compute(cg_emit *e, int32_t stmt, int64_t row, int vector) {
    const ir_stmt *s = &e->k->stmts[stmt];
    if (ir_tile_get(s->op)->kind == IR_TILE_MAP) return map_value(e, s, row, vector);
    switch ((int)s->op) {
    case IR_TILE_constant: return cg_number(e->m, s->value, 1);
    case IR_TILE_load: return load_value(e, stmt, row, vector);
    case IR_TILE_iota: return iota_value(e, s, row, vector);
    case IR_TILE_uniform: return uniform_value(e, s, row, vector);
    case IR_TILE_sum_cols: return fold_columns(e, s, row, true);
    case IR_TILE_max_cols: return fold_columns(e, s, row, false);
    case IR_TILE_sum_rows: return fold_rows(e, s, vector, true);
    case IR_TILE_max_rows: return fold_rows(e, s, vector, false);
    }
    IR_BUG("kernel %s: statement %d (%s) has no value here", e->k->name, (int)stmt,
           ir_tile_get(s->op)->name);
}

LLVMValueRef cg_value(cg_emit *e, int32_t stmt, int64_t row, int vector) {
    cg_element *t = shape(e, stmt);
    LLVMValueRef *at = &t->vector[row * t->vectors + vector];
    if (!*at) {
        LLVMValueRef value = compute(e, stmt, row, vector);
        *at = value;
    }
    return *at;
}

void cg_force(cg_emit *e, int32_t stmt) {
    cg_element *t = shape(e, stmt);
    for (int64_t r = 0; r < t->rows; r++)
        for (int v = 0; v < t->vectors; v++)
            cg_value(e, stmt, r, v);
}

/* ---- stores ---- */

static void store_one(cg_emit *e, int32_t stmt, int64_t row, int vector, LLVMValueRef value) {
    const ir_stmt *s = &e->k->stmts[stmt];
    cg_cut cut = cg_cut_columns(e, cg_extent(e, s->cols));
    if (!e->base[stmt]) e->base[stmt] = cg_pointer(e, &s->access);
    int64_t offset = constant_of(e, &s->access.at) + row * s->access.row_stride +
                     cut.first[vector] * s->access.col_stride;
    store_vector(e, s->access.param, e->base[stmt], offset, s->access.col_stride, value);
}

static void store_guarded(cg_emit *e, int32_t stmt) {
    const ir_stmt *s = &e->k->stmts[stmt];
    LLVMBuilderRef b = e->m->builder;
    LLVMValueRef test;
    int inside = guard_of(e, &s->access, &test);
    if (inside == 0) return;
    int64_t rows = cg_extent(e, s->rows), cols = cg_extent(e, s->cols);
    cg_cut cut = cg_cut_columns(e, cols);
    LLVMValueRef *all = ir_arena_alloc(e->arena, (size_t)(rows * cut.count) * sizeof *all);
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < cut.count; v++)
            all[r * cut.count + v] = cg_operand(e, s->operand[0], r, cols, v);
    if (!e->base[stmt]) e->base[stmt] = cg_pointer(e, &s->access);
    LLVMBasicBlockRef yes = block(e), after = block(e);
    if (inside < 0) {
        LLVMBuildCondBr(b, test, yes, after);
        LLVMPositionBuilderAtEnd(b, yes);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < cut.count; v++)
            store_one(e, stmt, r, v, all[r * cut.count + v]);
    if (inside < 0) {
        LLVMBuildBr(b, after);
        LLVMPositionBuilderAtEnd(b, after);
    } else {
        LLVMDeleteBasicBlock(yes);
        LLVMDeleteBasicBlock(after);
    }
}

void cg_store_group(cg_emit *e, int32_t first, int32_t end) {
    const ir_stmt *s = &e->k->stmts[first];
    if (s->access.guard_count) {
        IR_ASSERT(end == first + 1);
        store_guarded(e, first);
        return;
    }
    int64_t rows = cg_extent(e, s->rows), cols = cg_extent(e, s->cols);
    int vectors = cg_cut_columns(e, cols).count;
    LLVMValueRef *value = ir_arena_alloc(e->arena, (size_t)(end - first) * sizeof *value);
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            for (int32_t i = first; i < end; i++)
                value[i - first] = cg_operand(e, e->k->stmts[i].operand[0], r, cols, v);
            for (int32_t i = first; i < end; i++)
                store_one(e, i, r, v, value[i - first]);
        }
}
