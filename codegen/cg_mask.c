/* Masks that the caller gives: a table of kept tiles has room for as many as the program was
 * compiled for, so every row must keep that many. */
#include "cg_parts.h"

bool cg_has_masks(const ir_plan *plan) {
    for (size_t i = 0; i < plan->buffer_count; i++)
        if (plan->buffers[i].class == IR_BUFFER_INPUT && plan->buffers[i].mask.tiles) return true;
    return false;
}

/* How often the numbers of a row are 0, 1 and negative, in memory. */
enum { ZEROS, ONES, NEGATIVES, COUNTS };

static void count(const cg_parts *p, LLVMValueRef counter, LLVMValueRef test) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef one = LLVMBuildZExt(b, test, p->m.i64, "");
    LLVMValueRef old = LLVMBuildLoad2(b, p->m.i64, counter, "");
    LLVMBuildStore(b, LLVMBuildAdd(b, old, one, ""), counter);
}

static LLVMValueRef counted(const cg_parts *p, LLVMValueRef counter, int64_t wanted) {
    LLVMValueRef found = LLVMBuildLoad2(p->m.builder, p->m.i64, counter, "");
    return LLVMBuildICmp(p->m.builder, LLVMIntEQ, found, cg_int(&p->m, wanted), "");
}

/* Returns true from `f` if a row of the mask is wrong. */
static void check_rows(const cg_parts *p, LLVMValueRef f, LLVMValueRef data, const ir_buffer *mask,
                       const LLVMValueRef counter[COUNTS]) {
    LLVMBuilderRef b = p->m.builder;
    const cg_module *m = &p->m;
    int64_t tiles = mask->mask.tiles, kept = mask->mask.kept;
    LLVMValueRef zero = cg_int(m, 0), rows = cg_int(m, ir_type_elements(mask->type) / tiles);
    cg_each row = cg_each_begin(p, f, zero, rows);
    for (int i = 0; i < COUNTS; i++)
        LLVMBuildStore(b, zero, counter[i]);
    LLVMValueRef start = LLVMBuildMul(b, row.index, cg_int(m, tiles), "");
    cg_each tile = cg_each_begin(p, f, zero, cg_int(m, tiles));
    LLVMValueRef at = LLVMBuildAdd(b, start, tile.index, "");
    LLVMValueRef x = LLVMBuildLoad2(b, m->f32, LLVMBuildGEP2(b, m->f32, data, &at, 1, ""), "");
    LLVMValueRef none = LLVMConstReal(m->f32, 0), one = LLVMConstReal(m->f32, 1);
    count(p, counter[ZEROS], LLVMBuildFCmp(b, LLVMRealOEQ, x, none, ""));
    count(p, counter[ONES], LLVMBuildFCmp(b, LLVMRealOEQ, x, one, ""));
    count(p, counter[NEGATIVES], LLVMBuildFCmp(b, LLVMRealOLT, x, none, ""));
    cg_each_end(p, &tile, cg_int(m, tiles));
    LLVMValueRef good = LLVMBuildAnd(b, counted(p, counter[ZEROS], kept),
                                     counted(p, counter[ONES], tiles - kept), "");
    if (mask->mask.drawn) good = LLVMBuildOr(b, good, counted(p, counter[NEGATIVES], tiles), "");
    LLVMBasicBlockRef bad = cg_block(p, f, "bad"), next = cg_block(p, f, "next");
    LLVMBuildCondBr(b, good, next, bad);
    LLVMPositionBuilderAtEnd(b, bad);
    LLVMBuildRet(b, LLVMConstInt(LLVMInt1TypeInContext(m->context), 1, false));
    LLVMPositionBuilderAtEnd(b, next);
    cg_each_end(p, &row, rows);
}

static LLVMValueRef make_check(cg_parts *p, LLVMTypeRef type) {
    LLVMBuilderRef b = p->m.builder;
    const char *name = ir_arena_printf(p->scratch, "%s_masks_wrong", p->options->prefix);
    LLVMValueRef f = LLVMAddFunction(p->m.module, name, type), counter[COUNTS];
    LLVMSetLinkage(f, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(b, cg_block(p, f, ""));
    for (int i = 0; i < COUNTS; i++)
        counter[i] = LLVMBuildAlloca(b, p->m.i64, "");
    for (size_t i = 0; i < p->plan->buffer_count; i++) {
        const ir_buffer *mask = &p->plan->buffers[i];
        if (mask->class != IR_BUFFER_INPUT || !mask->mask.tiles) continue;
        LLVMValueRef index = cg_int(&p->m, mask->index), io = LLVMGetParam(f, 0);
        LLVMValueRef slot = LLVMBuildGEP2(b, p->m.pointer, io, &index, 1, "");
        check_rows(p, f, LLVMBuildLoad2(b, p->m.pointer, slot, ""), mask, counter);
    }
    LLVMBuildRet(b, LLVMConstNull(LLVMInt1TypeInContext(p->m.context)));
    return f;
}

LLVMValueRef cg_emit_masks_wrong(cg_parts *p, LLVMValueRef io) {
    LLVMTypeRef bit = LLVMInt1TypeInContext(p->m.context);
    LLVMTypeRef type = LLVMFunctionType(bit, &p->m.pointer, 1, false);
    if (!p->masks_wrong) {
        LLVMBasicBlockRef here = LLVMGetInsertBlock(p->m.builder);
        p->masks_wrong = make_check(p, type);
        LLVMPositionBuilderAtEnd(p->m.builder, here);
    }
    return LLVMBuildCall2(p->m.builder, type, p->masks_wrong, &io, 1, "");
}
