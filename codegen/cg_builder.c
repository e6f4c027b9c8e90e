#include "cg_builder.h"

#include <string.h>

cg_module cg_module_begin(LLVMContextRef context, const char *name, const cg_machine *machine) {
    cg_module m = {.context = context, .machine = machine};
    m.module = LLVMModuleCreateWithNameInContext(name, context);
    m.builder = LLVMCreateBuilderInContext(context);
    m.f32 = LLVMFloatTypeInContext(context);
    m.f64 = LLVMDoubleTypeInContext(context);
    m.i1 = LLVMInt1TypeInContext(context);
    m.i16 = LLVMInt16TypeInContext(context);
    m.i32 = LLVMInt32TypeInContext(context);
    m.i64 = LLVMInt64TypeInContext(context);
    m.pointer = LLVMPointerTypeInContext(context, 0);
    m.nothing = LLVMVoidTypeInContext(context);
    return m;
}

void cg_module_end(cg_module *m) {
    LLVMDisposeBuilder(m->builder);
}

LLVMTypeRef cg_vector(const cg_module *m, LLVMTypeRef element, int64_t width) {
    (void)m;
    return width == 1 ? element : LLVMVectorType(element, (unsigned)width);
}

int64_t cg_width(LLVMValueRef value) {
    LLVMTypeRef type = LLVMTypeOf(value);
    return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? LLVMGetVectorSize(type) : 1;
}

LLVMValueRef cg_int(const cg_module *m, int64_t value) {
    return LLVMConstInt(m->i64, (unsigned long long)value, true);
}

static LLVMValueRef repeat(LLVMValueRef one, int64_t width) {
    LLVMValueRef lanes[64];
    if (width == 1) return one;
    IR_ASSERT(width <= 64);
    for (int64_t i = 0; i < width; i++)
        lanes[i] = one;
    return LLVMConstVector(lanes, (unsigned)width);
}

LLVMValueRef cg_number(const cg_module *m, double value, int64_t width) {
    return repeat(LLVMConstReal(m->f32, (float)value), width);
}

LLVMValueRef cg_int32(const cg_module *m, int64_t value, int64_t width) {
    return repeat(LLVMConstInt(m->i32, (unsigned long long)value, true), width);
}

LLVMValueRef cg_splat(const cg_module *m, LLVMValueRef scalar, int64_t width) {
    if (width == 1) return scalar;
    if (LLVMIsConstant(scalar)) return repeat(scalar, width);
    LLVMTypeRef type = cg_vector(m, LLVMTypeOf(scalar), width);
    LLVMValueRef zero = LLVMConstInt(m->i32, 0, false);
    LLVMValueRef one = LLVMBuildInsertElement(m->builder, LLVMGetPoison(type), scalar, zero, "");
    return LLVMBuildShuffleVector(m->builder, one, LLVMGetPoison(type),
                                  LLVMConstNull(cg_vector(m, m->i32, width)), "");
}

LLVMValueRef cg_add(const cg_module *m, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildFAdd(m->builder, a, b, "");
}
LLVMValueRef cg_sub(const cg_module *m, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildFSub(m->builder, a, b, "");
}
LLVMValueRef cg_mul(const cg_module *m, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildFMul(m->builder, a, b, "");
}
LLVMValueRef cg_div(const cg_module *m, LLVMValueRef a, LLVMValueRef b) {
    return LLVMBuildFDiv(m->builder, a, b, "");
}

LLVMValueRef cg_fma(const cg_module *m, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    if (!m->machine->has_fma) return cg_add(m, cg_mul(m, a, b), c);
    return cg_intrinsic(m, "llvm.fma", (LLVMValueRef[]){a, b, c}, 3);
}

LLVMValueRef cg_select(const cg_module *m, LLVMRealPredicate test, LLVMValueRef a, LLVMValueRef b,
                       LLVMValueRef yes, LLVMValueRef no) {
    return LLVMBuildSelect(m->builder, LLVMBuildFCmp(m->builder, test, a, b, ""), yes, no, "");
}

LLVMValueRef cg_max(const cg_module *m, LLVMValueRef a, LLVMValueRef b) {
    LLVMValueRef larger = LLVMBuildFCmp(m->builder, LLVMRealOLT, a, b, "");
    LLVMValueRef nan = LLVMBuildFCmp(m->builder, LLVMRealUNO, b, b, "");
    return LLVMBuildSelect(m->builder, LLVMBuildOr(m->builder, larger, nan, ""), b, a, "");
}
LLVMValueRef cg_min(const cg_module *m, LLVMValueRef a, LLVMValueRef b) {
    return cg_select(m, LLVMRealOGT, a, b, b, a);
}

LLVMValueRef cg_intrinsic(const cg_module *m, const char *name, LLVMValueRef *args, int count) {
    LLVMTypeRef type = LLVMTypeOf(args[0]);
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(m->module, id, &type, 1);
    LLVMTypeRef signature = LLVMIntrinsicGetType(m->context, id, &type, 1);
    return LLVMBuildCall2(m->builder, signature, f, args, (unsigned)count, "");
}

static LLVMValueRef half(const cg_module *m, LLVMValueRef v, int64_t from, int64_t width) {
    if (width == 1)
        return LLVMBuildExtractElement(m->builder, v,
                                       LLVMConstInt(m->i32, (unsigned long long)from, false), "");
    LLVMValueRef lanes[64];
    for (int64_t i = 0; i < width; i++)
        lanes[i] = LLVMConstInt(m->i32, (unsigned long long)(from + i), false);
    return LLVMBuildShuffleVector(m->builder, v, LLVMGetPoison(LLVMTypeOf(v)),
                                  LLVMConstVector(lanes, (unsigned)width), "");
}

LLVMValueRef cg_halve(const cg_module *m, LLVMValueRef v, bool sum) {
    int64_t width = cg_width(v) / 2;
    LLVMValueRef low = half(m, v, 0, width), high = half(m, v, width, width);
    return sum ? cg_add(m, low, high) : cg_max(m, low, high);
}

LLVMValueRef cg_offset(const cg_module *m, LLVMValueRef base, LLVMValueRef value, int64_t factor) {
    LLVMValueRef term =
        factor == 1 ? value : LLVMBuildMul(m->builder, value, cg_int(m, factor), "");
    return base ? LLVMBuildAdd(m->builder, base, term, "") : term;
}

static void attribute(const cg_module *m, LLVMValueRef f, const char *key, const char *value) {
    LLVMAttributeRef a = LLVMCreateStringAttribute(m->context, key, (unsigned)strlen(key), value,
                                                   (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

LLVMValueRef cg_function(const cg_module *m, const char *name, LLVMTypeRef type, bool exported) {
    LLVMValueRef f = LLVMAddFunction(m->module, name, type);
    LLVMSetLinkage(f, exported ? LLVMExternalLinkage : LLVMInternalLinkage);
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(m->context, nounwind, 0));
    if (m->machine->cpu[0]) attribute(m, f, "target-cpu", m->machine->cpu);
    if (m->machine->features[0]) attribute(m, f, "target-features", m->machine->features);
    if (m->machine->facts.lanes == 16) {
        attribute(m, f, "prefer-vector-width", "512");
        attribute(m, f, "min-legal-vector-width", "512");
    }
    return f;
}
