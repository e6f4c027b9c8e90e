/* The public functions of a program. They check what they are given, put it where task functions
 * look for it, and let the regions run. */
#include "cg_parts.h"

#include "cnx_abi.h"

#include <string.h>

enum { ALIGNMENT = 64 };

static const cg_code codes[] = {
    {CNX_OK, "OK", "no error"},
    {CNX_E_CPU, "E_CPU", "this CPU lacks instructions the program was compiled for"},
    {CNX_E_NULL, "E_NULL", "a pointer that must be given is NULL"},
    {CNX_E_ALIGN, "E_ALIGN", "state or workspace is not aligned to 64 bytes"},
    {CNX_E_WEIGHTS, "E_WEIGHTS", "no weights are given and none are embedded"},
    {CNX_E_MASK, "E_MASK", "a row of a mask keeps another number of patches than the program"},
};

size_t cg_code_count(void) {
    return sizeof codes / sizeof *codes;
}
const cg_code *cg_code_at(size_t index) {
    return &codes[index];
}

/* ---- small parts ---- */

/* A public function for the plainest CPU of the target, with its first block open. */
static LLVMValueRef open_public(cg_parts *p, const char *suffix, LLVMTypeRef result,
                                LLVMTypeRef *types, unsigned count) {
    const char *name = ir_arena_printf(p->scratch, "%s_%s", p->options->prefix, suffix);
    LLVMValueRef f =
        LLVMAddFunction(p->m.module, name, LLVMFunctionType(result, types, count, false));
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(p->m.context, nounwind, 0));
    LLVMPositionBuilderAtEnd(p->m.builder, cg_block(p, f, ""));
    return f;
}

static LLVMValueRef code_value(const cg_parts *p, int code) {
    return LLVMConstInt(p->m.i32, (unsigned long long)code, true);
}

/* Returns `code` if `wrong` holds, else goes on. */
static void refuse(const cg_parts *p, LLVMValueRef function, LLVMValueRef wrong, int code) {
    LLVMBasicBlockRef bad = cg_block(p, function, "refuse"), good = cg_block(p, function, "go");
    LLVMBuildCondBr(p->m.builder, wrong, bad, good);
    LLVMPositionBuilderAtEnd(p->m.builder, bad);
    LLVMBuildRet(p->m.builder, code_value(p, code));
    LLVMPositionBuilderAtEnd(p->m.builder, good);
}

static void refuse_null(const cg_parts *p, LLVMValueRef function, LLVMValueRef pointer) {
    refuse(p, function, LLVMBuildIsNull(p->m.builder, pointer, ""), CNX_E_NULL);
}

static void refuse_unaligned(const cg_parts *p, LLVMValueRef function, LLVMValueRef pointer) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef low = LLVMBuildPtrToInt(b, pointer, p->m.i64, "");
    low = LLVMBuildAnd(b, low, cg_int(&p->m, ALIGNMENT - 1), "");
    refuse(p, function, LLVMBuildICmp(b, LLVMIntNE, low, cg_int(&p->m, 0), ""), CNX_E_ALIGN);
}

static LLVMValueRef null_pointer(const cg_parts *p) {
    return LLVMConstNull(p->m.pointer);
}

/* Fills an arguments struct, all but the number of pieces; `given` is indexed by CG_ARG_*. */
static void set_arguments(const cg_parts *p, LLVMValueRef arguments,
                          const LLVMValueRef given[CG_ARG_COUNT]) {
    for (int i = 0; i < CG_ARG_PIECES; i++)
        cg_set_argument(p, arguments, i, given[i] ? given[i] : null_pointer(p));
}

/* Runs regions [first, last) of the table. */
static void run_regions(const cg_parts *p, LLVMValueRef first, LLVMValueRef last,
                        LLVMValueRef arguments, LLVMValueRef threads) {
    LLVMValueRef args[4] = {first, last, arguments, threads};
    LLVMBuildCall2(p->m.builder, p->run_type, p->run, args, 4, "");
}

/* ---- init and export ---- */

static int64_t weights_bytes(const ir_plan *plan) {
    return 4 * plan->weights_elements;
}

/* Training and grad: parameters lie at the start of the state; the rest of it begins as zeros. */
static void fill_state(const cg_parts *p, LLVMValueRef state, LLVMValueRef weights) {
    LLVMBuilderRef b = p->m.builder;
    LLVMTypeRef byte = LLVMInt8TypeInContext(p->m.context);
    int64_t copied = p->plan->kind == IR_KIND_INFER ? 0 : weights_bytes(p->plan);
    IR_ASSERT(copied <= p->plan->state_bytes);
    if (copied) LLVMBuildMemCpy(b, state, ALIGNMENT, weights, 4, cg_int(&p->m, copied));
    LLVMValueRef at = cg_int(&p->m, copied);
    LLVMValueRef rest = LLVMBuildGEP2(b, byte, state, &at, 1, "");
    LLVMBuildMemSet(b, rest, LLVMConstNull(byte), cg_int(&p->m, p->plan->state_bytes - copied), 4);
}

static LLVMValueRef embed(cg_parts *p) {
    size_t bytes = (size_t)weights_bytes(p->plan);
    const char *data = (const char *)p->options->weights;
    LLVMValueRef value = LLVMConstStringInContext2(p->m.context, data, bytes, true);
    LLVMValueRef global =
        LLVMAddGlobal(p->m.module, LLVMTypeOf(value),
                      ir_arena_printf(p->scratch, "%s_weights", p->options->prefix));
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetAlignment(global, ALIGNMENT);
    return global;
}

static void emit_init(cg_parts *p) {
    LLVMBuilderRef b = p->m.builder;
    LLVMTypeRef types[2] = {p->m.pointer, p->m.pointer};
    LLVMValueRef f = open_public(p, "init", p->m.i32, types, 2);
    LLVMValueRef arguments = LLVMBuildAlloca(b, p->arguments, "arguments");
    LLVMValueRef state = LLVMGetParam(f, 0), weights = LLVMGetParam(f, 1);
    LLVMValueRef able = cg_emit_cpu_check(p, f, p->x86 ? p->m.machine->needs : 0);
    refuse(p, f, LLVMBuildNot(b, able, ""), CNX_E_CPU);
    refuse_null(p, f, state);
    refuse_unaligned(p, f, state);
    LLVMValueRef none = LLVMBuildIsNull(b, weights, "");
    if (p->options->weights)
        weights = LLVMBuildSelect(b, none, embed(p), weights, "");
    else if (p->plan->weights_elements)
        refuse(p, f, none, CNX_E_WEIGHTS);
    fill_state(p, state, weights);
    if (p->plan->init_count) {
        set_arguments(
            p, arguments,
            (LLVMValueRef[CG_ARG_COUNT]){[CG_ARG_STATE] = state, [CG_ARG_WEIGHTS] = weights});
        run_regions(p, cg_int(&p->m, 0), cg_int(&p->m, (int64_t)p->plan->init_count), arguments,
                    null_pointer(p));
    }
    LLVMBuildRet(b, code_value(p, CNX_OK));
}

static void emit_export(cg_parts *p) {
    LLVMBuilderRef b = p->m.builder;
    LLVMTypeRef types[2] = {p->m.pointer, p->m.pointer};
    LLVMValueRef f = open_public(p, "export", p->m.i32, types, 2);
    LLVMValueRef state = LLVMGetParam(f, 0), weights = LLVMGetParam(f, 1);
    refuse_null(p, f, state);
    refuse_null(p, f, weights);
    refuse_unaligned(p, f, state);
    LLVMBuildMemCpy(b, weights, 4, state, ALIGNMENT, cg_int(&p->m, weights_bytes(p->plan)));
    LLVMBuildRet(b, code_value(p, CNX_OK));
}

/* ---- run, step ---- */

static void refuse_masks(cg_parts *p, LLVMValueRef function, LLVMValueRef io) {
    if (cg_has_masks(p->plan)) refuse(p, function, cg_emit_masks_wrong(p, io), CNX_E_MASK);
}

static int32_t is_output(const ir_plan *plan, int32_t index) {
    return cg_program_io(plan, index)->class == IR_BUFFER_OUTPUT;
}

/* What stands for the mask of a masked autoencoder that the caller leaves out: -1 everywhere, which
 * asks the program for a random one. */
static LLVMValueRef no_mask(cg_parts *p, const ir_buffer *buffer) {
    unsigned count = (unsigned)ir_type_elements(buffer->type);
    LLVMValueRef *minus = ir_arena_alloc(p->scratch, count * sizeof(LLVMValueRef));
    for (unsigned i = 0; i < count; i++)
        minus[i] = LLVMConstReal(p->m.f32, -1);
    LLVMValueRef value = LLVMConstArray2(p->m.f32, minus, count);
    LLVMValueRef global =
        LLVMAddGlobal(p->m.module, LLVMTypeOf(value),
                      ir_arena_printf(p->scratch, "%s_no_mask", p->options->prefix));
    LLVMSetInitializer(global, value);
    LLVMSetGlobalConstant(global, true);
    LLVMSetLinkage(global, LLVMInternalLinkage);
    LLVMSetAlignment(global, ALIGNMENT);
    return global;
}

/* The io table on the stack from parameters; *at is the next parameter of the function. */
static void gather_io(cg_parts *p, LLVMValueRef f, LLVMValueRef table, bool outputs, unsigned *at) {
    LLVMBuilderRef b = p->m.builder;
    for (int32_t i = 0; i < cg_program_io_count(p->plan); i++) {
        if (is_output(p->plan, i) != outputs) continue;
        LLVMValueRef pointer = LLVMGetParam(f, (*at)++), index = cg_int(&p->m, i);
        if (cg_program_io_optional(p->plan, i)) {
            LLVMValueRef none = LLVMBuildIsNull(b, pointer, "");
            pointer = LLVMBuildSelect(b, none, no_mask(p, cg_program_io(p->plan, i)), pointer, "");
        } else {
            refuse_null(p, f, pointer);
        }
        LLVMBuildStore(b, pointer, LLVMBuildGEP2(b, p->m.pointer, table, &index, 1, ""));
    }
}

typedef struct signature {
    bool lr, scalars; /* lr; step and seed */
    LLVMTypeRef *types;
    unsigned count;
} signature;

static signature run_signature(cg_parts *p) {
    int32_t io = cg_program_io_count(p->plan);
    signature s = {.lr = p->plan->kind == IR_KIND_TRAIN,
                   .scalars = cg_program_takes_scalars(p->plan)};
    s.types = ir_arena_alloc(p->scratch, ((size_t)io + 8) * sizeof *s.types);
    s.types[s.count++] = p->m.pointer; /* state */
    s.types[s.count++] = p->m.pointer; /* workspace */
    for (int32_t i = 0; i < io; i++)
        if (!is_output(p->plan, i)) s.types[s.count++] = p->m.pointer;
    if (s.lr) s.types[s.count++] = p->m.f32;
    if (s.scalars) s.types[s.count++] = p->m.i64;
    if (s.scalars) s.types[s.count++] = p->m.i64;
    for (int32_t i = 0; i < io; i++)
        if (is_output(p->plan, i)) s.types[s.count++] = p->m.pointer;
    s.types[s.count++] = p->m.pointer; /* threads */
    return s;
}

static LLVMTypeRef scalars_type(const cg_parts *p) {
    LLVMTypeRef fields[3] = {p->m.f32, p->m.i64, p->m.i64};
    return LLVMStructTypeInContext(p->m.context, fields, 3, false);
}

/* lr, step and seed as they come; what the function does not take is 0. */
static void gather_scalars(cg_parts *p, LLVMValueRef f, const signature *s, LLVMValueRef scalars,
                           unsigned *at) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef lr = s->lr ? LLVMGetParam(f, (*at)++) : LLVMConstNull(p->m.f32);
    LLVMBuildStore(b, lr, LLVMBuildStructGEP2(b, scalars_type(p), scalars, 0, ""));
    for (unsigned i = 1; i <= 2; i++) {
        LLVMValueRef word = s->scalars ? LLVMGetParam(f, (*at)++) : cg_int(&p->m, 0);
        LLVMBuildStore(b, word, LLVMBuildStructGEP2(b, scalars_type(p), scalars, i, ""));
    }
}

static void run_main(cg_parts *p, LLVMValueRef arguments, LLVMValueRef threads) {
    int64_t first = (int64_t)p->plan->init_count, count = (int64_t)p->plan->main_count;
    run_regions(p, cg_int(&p->m, first), cg_int(&p->m, first + count), arguments, threads);
}

static void emit_run(cg_parts *p) {
    LLVMBuilderRef b = p->m.builder;
    signature s = run_signature(p);
    const char *name = p->plan->kind == IR_KIND_TRAIN ? "step" : "run";
    LLVMValueRef f = open_public(p, name, p->m.i32, s.types, s.count);
    LLVMValueRef arguments = LLVMBuildAlloca(b, p->arguments, "arguments");
    LLVMValueRef scalars = LLVMBuildAlloca(b, scalars_type(p), "scalars");
    LLVMValueRef io = LLVMBuildArrayAlloca(
        b, p->m.pointer, LLVMConstInt(p->m.i32, (unsigned)cg_program_io_count(p->plan) + 1, false),
        "io");
    LLVMValueRef given[CG_ARG_COUNT] = {[CG_ARG_STATE] = LLVMGetParam(f, 0),
                                        [CG_ARG_WORKSPACE] = LLVMGetParam(f, 1),
                                        [CG_ARG_IO] = io,
                                        [CG_ARG_SCALARS] = scalars};
    unsigned at = 2;
    for (int i = CG_ARG_STATE; i <= CG_ARG_WORKSPACE; i++)
        refuse_null(p, f, given[i]);
    gather_io(p, f, io, false, &at);
    gather_scalars(p, f, &s, scalars, &at);
    gather_io(p, f, io, true, &at);
    for (int i = CG_ARG_STATE; i <= CG_ARG_WORKSPACE; i++)
        refuse_unaligned(p, f, given[i]);
    refuse_masks(p, f, io);
    set_arguments(p, arguments, given);
    run_main(p, arguments, LLVMGetParam(f, at));
    LLVMBuildRet(b, code_value(p, CNX_OK));
}

/* ---- what the JIT calls: the same regions on an io table, and some of them alone ---- */

static void emit_main(cg_parts *p) {
    LLVMBuilderRef b = p->m.builder;
    LLVMTypeRef pointer = p->m.pointer, i64 = p->m.i64;
    LLVMTypeRef types[7] = {i64, i64, pointer, pointer, pointer, pointer, pointer};
    LLVMValueRef f = open_public(p, "regions", p->m.i32, types, 7);
    LLVMValueRef arguments = LLVMBuildAlloca(b, p->arguments, "arguments");
    LLVMValueRef given[CG_ARG_COUNT] = {[CG_ARG_STATE] = LLVMGetParam(f, 2),
                                        [CG_ARG_WORKSPACE] = LLVMGetParam(f, 3),
                                        [CG_ARG_IO] = LLVMGetParam(f, 4),
                                        [CG_ARG_SCALARS] = LLVMGetParam(f, 5)};
    for (int i = CG_ARG_STATE; i <= CG_ARG_IO; i++)
        refuse_null(p, f, given[i]);
    if (cg_program_takes_scalars(p->plan)) refuse_null(p, f, given[CG_ARG_SCALARS]);
    for (int i = CG_ARG_STATE; i <= CG_ARG_WORKSPACE; i++)
        refuse_unaligned(p, f, given[i]);
    refuse_masks(p, f, given[CG_ARG_IO]);
    set_arguments(p, arguments, given);
    LLVMValueRef shift = cg_int(&p->m, (int64_t)p->plan->init_count);
    run_regions(p, LLVMBuildAdd(b, LLVMGetParam(f, 0), shift, ""),
                LLVMBuildAdd(b, LLVMGetParam(f, 1), shift, ""), arguments, LLVMGetParam(f, 6));
    LLVMBuildRet(b, code_value(p, CNX_OK));
}

/* Some regions of init: the state was zero before the first of them, and the CPU was checked. */
static void emit_init_regions(cg_parts *p) {
    LLVMTypeRef pointer = p->m.pointer, i64 = p->m.i64;
    LLVMTypeRef types[5] = {i64, i64, pointer, pointer, pointer};
    LLVMValueRef f = open_public(p, "init_regions", p->m.i32, types, 5);
    LLVMValueRef arguments = LLVMBuildAlloca(p->m.builder, p->arguments, "arguments");
    LLVMValueRef given[CG_ARG_COUNT] = {
        [CG_ARG_STATE] = LLVMGetParam(f, 2), [CG_ARG_WEIGHTS] = LLVMGetParam(f, 3)};
    refuse_null(p, f, given[CG_ARG_STATE]);
    refuse_unaligned(p, f, given[CG_ARG_STATE]);
    set_arguments(p, arguments, given);
    run_regions(p, LLVMGetParam(f, 0), LLVMGetParam(f, 1), arguments, LLVMGetParam(f, 4));
    LLVMBuildRet(p->m.builder, code_value(p, CNX_OK));
}

/* ---- codes in words ---- */

static void emit_error(cg_parts *p) {
    LLVMBuilderRef b = p->m.builder;
    LLVMValueRef f = open_public(p, "error", p->m.pointer, &p->m.i32, 1);
    LLVMBasicBlockRef entry = LLVMGetInsertBlock(b), unknown = cg_block(p, f, "unknown");
    LLVMPositionBuilderAtEnd(b, unknown);
    LLVMBuildRet(b, LLVMBuildGlobalStringPtr(b, "unknown code", ""));
    LLVMPositionBuilderAtEnd(b, entry);
    LLVMValueRef choice =
        LLVMBuildSwitch(b, LLVMGetParam(f, 0), unknown, (unsigned)cg_code_count());
    for (size_t i = 0; i < cg_code_count(); i++) {
        LLVMBasicBlockRef block = cg_block(p, f, codes[i].name);
        LLVMAddCase(choice, code_value(p, codes[i].value), block);
        LLVMPositionBuilderAtEnd(b, block);
        LLVMBuildRet(b, LLVMBuildGlobalStringPtr(b, codes[i].text, ""));
    }
}

void cg_emit_entries(cg_parts *p) {
    emit_init(p);
    emit_run(p);
    if (p->plan->kind != IR_KIND_INFER) emit_export(p);
    if (p->options->regions) {
        emit_main(p);
        emit_init_regions(p);
    }
    emit_error(p);
}
