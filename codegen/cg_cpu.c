/* Does the CPU have what the code needs? Asked with cpuid and xgetbv themselves, so that an object
 * needs no library for it. */
#include "cg_parts.h"

#include <string.h>

enum { EAX, EBX, ECX, EDX, XCR0 }; /* XCR0: of xgetbv, which is no cpuid leaf */

typedef struct cpu_bits {
    unsigned feature; /* cg_feature that asks for them */
    unsigned leaf, subleaf;
    int where;     /* register of the answer */
    unsigned mask; /* all of these */
} cpu_bits;

#define BIT(n) (1u << (n))
/* The order matters: leaf 7 and xgetbv exist where the rows above hold. */
static const cpu_bits bits[] = {
    {CG_AVX2, 1, 0, ECX, BIT(27) | BIT(28) | BIT(22) | BIT(29)}, /* OSXSAVE AVX MOVBE F16C */
    {CG_FMA, 1, 0, ECX, BIT(27) | BIT(12)},
    {CG_AVX2, 0, 0, XCR0, 0x6},                     /* the system saves SSE and AVX */
    {CG_AVX2, 7, 0, EBX, BIT(5) | BIT(3) | BIT(8)}, /* AVX2 BMI1 BMI2 */
    {CG_AVX2, 0x80000001, 0, ECX, BIT(5)},          /* LZCNT */
    {CG_AVX512, 0, 0, XCR0, 0xe6},
    {CG_AVX512, 7, 0, EBX, BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31)}, /* F DQ CD BW VL */
    {CG_AVX512_BF16, 7, 1, EAX, BIT(5)},
    {CG_AMX_BF16, 0, 0, XCR0, 0x60000},
    {CG_AMX_BF16, 7, 0, EDX, BIT(22) | BIT(24)},
};

static LLVMValueRef i32(const cg_parts *p, unsigned value) {
    return LLVMConstInt(p->m.i32, value, false);
}

static LLVMValueRef call_asm(const cg_parts *p, const char *text, const char *constraints,
                             int results, LLVMValueRef *args, unsigned count) {
    LLVMTypeRef each[4] = {p->m.i32, p->m.i32, p->m.i32, p->m.i32};
    LLVMTypeRef result = LLVMStructTypeInContext(p->m.context, each, (unsigned)results, false);
    LLVMTypeRef type = LLVMFunctionType(result, each, count, false);
    LLVMValueRef code =
        LLVMGetInlineAsm(type, (char *)text, strlen(text), (char *)constraints, strlen(constraints),
                         true, false, LLVMInlineAsmDialectATT, false);
    return LLVMBuildCall2(p->m.builder, type, code, args, count, "");
}

static LLVMValueRef answer(const cg_parts *p, unsigned leaf, unsigned subleaf, int where) {
    LLVMBuilderRef b = p->m.builder;
    if (where == XCR0) {
        LLVMValueRef index = i32(p, 0);
        LLVMValueRef both =
            call_asm(p, "xgetbv", "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}", 2, &index, 1);
        return LLVMBuildExtractValue(b, both, 0, "");
    }
    LLVMValueRef args[2] = {i32(p, leaf), i32(p, subleaf)};
    LLVMValueRef all = call_asm(
        p, "cpuid", "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}", 4, args, 2);
    return LLVMBuildExtractValue(b, all, (unsigned)where, "");
}

/* Goes on in a new block if `holds`, else to `fail`. */
static void demand(const cg_parts *p, LLVMValueRef function, LLVMValueRef holds,
                   LLVMBasicBlockRef fail) {
    LLVMBasicBlockRef next = cg_block(p, function, "next");
    LLVMBuildCondBr(p->m.builder, holds, next, fail);
    LLVMPositionBuilderAtEnd(p->m.builder, next);
}

LLVMValueRef cg_emit_cpu_check(const cg_parts *p, LLVMValueRef function, unsigned needs) {
    LLVMBuilderRef b = p->m.builder;
    if (!needs) return LLVMConstInt(p->m.i1, 1, false);
    LLVMBasicBlockRef fail = cg_block(p, function, "lacking");
    LLVMBasicBlockRef done = cg_block(p, function, "checked");
    LLVMValueRef leaves = answer(p, 0, 0, EAX);
    demand(p, function, LLVMBuildICmp(b, LLVMIntUGE, leaves, i32(p, 7), ""), fail);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (!(bits[i].feature & needs)) continue;
        LLVMValueRef found = answer(p, bits[i].leaf, bits[i].subleaf, bits[i].where);
        found = LLVMBuildAnd(b, found, i32(p, bits[i].mask), "");
        demand(p, function, LLVMBuildICmp(b, LLVMIntEQ, found, i32(p, bits[i].mask), ""), fail);
    }
    LLVMBasicBlockRef passed = LLVMGetInsertBlock(b);
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, fail);
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, done);
    LLVMValueRef result = LLVMBuildPhi(b, p->m.i1, "");
    LLVMValueRef values[2] = {LLVMConstInt(p->m.i1, 1, false), LLVMConstInt(p->m.i1, 0, false)};
    LLVMBasicBlockRef from[2] = {passed, fail};
    LLVMAddIncoming(result, values, from, 2);
    return result;
}
