#include "cg_math.h"

#include <math.h>

#define N(value) cg_number(m, value, cg_width(x))

/* Horner in u, highest coefficient first. */
static LLVMValueRef horner(const cg_module *m, LLVMValueRef u, const double *c, int count) {
    LLVMValueRef p = cg_number(m, c[0], cg_width(u));
    for (int i = 1; i < count; i++)
        p = cg_fma(m, p, u, cg_number(m, c[i], cg_width(u)));
    return p;
}

static LLVMValueRef as_int(const cg_module *m, LLVMValueRef x) {
    return LLVMBuildBitCast(m->builder, x, cg_vector(m, m->i32, cg_width(x)), "");
}
static LLVMValueRef as_float(const cg_module *m, LLVMValueRef x) {
    return LLVMBuildBitCast(m->builder, x, cg_vector(m, m->f32, cg_width(x)), "");
}

/* 2^n for an integer vector n with |n| <= 126. */
static LLVMValueRef power_of_two(const cg_module *m, LLVMValueRef n) {
    int64_t w = cg_width(n);
    LLVMValueRef biased = LLVMBuildAdd(m->builder, n, cg_int32(m, 127, w), "");
    return as_float(m, LLVMBuildShl(m->builder, biased, cg_int32(m, 23, w), ""));
}

/* Cephes expf (Moshier): e^x = 2^n e^r, |r| <= ln(2)/2; 2^n in two factors reaches both ends. */
LLVMValueRef cg_math_exp(const cg_module *m, LLVMValueRef x) {
    static const double c[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                               4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
    const double magic = 12582912; /* 1.5 * 2^23: adding it rounds to an integer */
    int64_t w = cg_width(x);
    x = cg_select(m, LLVMRealOLT, x, N(-110), N(-110), x);
    x = cg_select(m, LLVMRealOGT, x, N(100), N(100), x);
    LLVMValueRef t = cg_fma(m, x, N(M_LOG2E), N(magic));
    LLVMValueRef n = cg_sub(m, t, N(magic));
    LLVMValueRef r = cg_fma(m, n, N(-0.693359375), x);
    r = cg_fma(m, n, N(2.12194440e-4), r);
    LLVMValueRef p = cg_fma(m, horner(m, r, c, 6), cg_mul(m, r, r), r);
    p = cg_add(m, p, N(1));
    LLVMValueRef whole = LLVMBuildSub(m->builder, as_int(m, t), cg_int32(m, 0x4B400000, w), "");
    LLVMValueRef low = LLVMBuildAShr(m->builder, whole, cg_int32(m, 1, w), "");
    LLVMValueRef high = LLVMBuildSub(m->builder, whole, low, "");
    return cg_mul(m, cg_mul(m, p, power_of_two(m, low)), power_of_two(m, high));
}

/* Cephes logf: x = 2^e f, f in [sqrt(1/2), sqrt(2)). */
LLVMValueRef cg_math_log(const cg_module *m, LLVMValueRef x) {
    static const double c[] = {7.0376836292e-2,  -1.1514610310e-1, 1.1676998740e-1,
                               -1.2420140846e-1, 1.4249322787e-1,  -1.6668057665e-1,
                               2.0000714765e-1,  -2.4999993993e-1, 3.3333331174e-1};
    int64_t w = cg_width(x);
    LLVMBuilderRef b = m->builder;
    LLVMValueRef tiny = LLVMBuildFCmp(b, LLVMRealOLT, x, N(1.17549435e-38), "");
    LLVMValueRef scaled = LLVMBuildSelect(b, tiny, cg_mul(m, x, N(8388608)), x, "");
    LLVMValueRef bits = as_int(m, scaled);
    LLVMValueRef from = LLVMBuildSub(b, bits, cg_int32(m, 0x3f3504f3, w), "");
    LLVMValueRef e = LLVMBuildAShr(b, from, cg_int32(m, 23, w), "");
    LLVMValueRef mantissa = LLVMBuildSub(b, bits, LLVMBuildShl(b, e, cg_int32(m, 23, w), ""), "");
    LLVMValueRef f = cg_sub(m, as_float(m, mantissa), N(1));
    LLVMValueRef n = LLVMBuildSIToFP(b, e, cg_vector(m, m->f32, w), "");
    n = cg_sub(m, n, LLVMBuildSelect(b, tiny, N(23), N(0), ""));
    LLVMValueRef ff = cg_mul(m, f, f);
    LLVMValueRef y = cg_mul(m, cg_mul(m, horner(m, f, c, 9), f), ff);
    y = cg_fma(m, n, N(-2.12194440e-4), y);
    y = cg_fma(m, ff, N(-0.5), y);
    y = cg_fma(m, n, N(0.693359375), cg_add(m, y, f));
    y = cg_select(m, LLVMRealOEQ, x, N(INFINITY), x, y);
    y = cg_select(m, LLVMRealOEQ, x, N(0), N(-INFINITY), y);
    return cg_select(m, LLVMRealUGE, x, N(0),
                     LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), x, y, ""), N(NAN));
}

LLVMValueRef cg_math_sigmoid(const cg_module *m, LLVMValueRef x) {
    LLVMValueRef e = cg_math_exp(m, cg_sub(m, N(-0.0), x));
    return cg_div(m, N(1), cg_add(m, N(1), e));
}

static LLVMValueRef clamp(const cg_module *m, LLVMValueRef x, double limit) {
    x = cg_select(m, LLVMRealOLT, x, N(-limit), N(-limit), x);
    return cg_select(m, LLVMRealOGT, x, N(limit), N(limit), x);
}

/* Phi(x) = 1/2 + erf(x / sqrt 2) / 2; erf(z) = z P(z^2) / Q(z^2) on |z| <= 4, a minimax fit as used
 * by Eigen (MathFunctionsImpl.h). P and Q are rescaled to x^2 here. */
static LLVMValueRef normal_cdf(const cg_module *m, LLVMValueRef x) {
    static const double p[] = {-2.72614225801306e-10, 2.77068142495902e-08,  -2.10102402082508e-06,
                               -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03,
                               -1.60960333262415e-02};
    static const double q[] = {-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
                               -7.37332916720468e-03, -1.42647390514189e-02};
    double ps[7], qs[5];
    for (int i = 0; i < 7; i++)
        ps[i] = p[i] * pow(0.5, 6 - i) * M_SQRT1_2 / 2;
    for (int i = 0; i < 5; i++)
        qs[i] = q[i] * pow(0.5, 4 - i);
    LLVMValueRef y = clamp(m, x, 5.625); /* where the fit rounds to 0 and 1, with and without fma */
    LLVMValueRef u = cg_mul(m, y, y);
    LLVMValueRef top = cg_mul(m, y, horner(m, u, ps, 7));
    return cg_add(m, N(0.5), cg_div(m, top, horner(m, u, qs, 5)));
}

LLVMValueRef cg_math_gelu(const cg_module *m, LLVMValueRef x) {
    return cg_mul(m, x, normal_cdf(m, x));
}

LLVMValueRef cg_math_gelu_slope(const cg_module *m, LLVMValueRef x) {
    LLVMValueRef y = clamp(m, x, 14);
    LLVMValueRef density = cg_math_exp(m, cg_mul(m, cg_mul(m, y, y), N(-0.5)));
    return cg_fma(m, cg_mul(m, y, N(0.398942280401432678)), density, normal_cdf(m, x));
}

#define TANH_SCALE 0.797884560802865356 /* sqrt(2/pi) */

/* x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3) */
static LLVMValueRef tanh_gate(const cg_module *m, LLVMValueRef x) {
    LLVMValueRef y = clamp(m, x, 20);
    LLVMValueRef cubic = cg_fma(m, cg_mul(m, y, y), N(0.044715), N(1));
    return cg_math_sigmoid(m, cg_mul(m, cg_mul(m, y, N(2 * TANH_SCALE)), cubic));
}

LLVMValueRef cg_math_gelu_tanh(const cg_module *m, LLVMValueRef x) {
    return cg_mul(m, x, tanh_gate(m, x));
}

/* s + x s (1 - s) 2 u' */
LLVMValueRef cg_math_gelu_tanh_slope(const cg_module *m, LLVMValueRef x) {
    LLVMValueRef s = tanh_gate(m, x), y = clamp(m, x, 20);
    LLVMValueRef du =
        cg_fma(m, cg_mul(m, y, y), N(3 * 0.044715 * 2 * TANH_SCALE), N(2 * TANH_SCALE));
    LLVMValueRef rest = cg_mul(m, s, cg_sub(m, N(1), s));
    return cg_fma(m, cg_mul(m, y, rest), du, s);
}

LLVMValueRef cg_math_one_minus_pow(const cg_module *m, LLVMValueRef a, LLVMValueRef exponent) {
    LLVMValueRef one = LLVMConstReal(m->f64, 1);
    LLVMValueRef base =
        LLVMBuildFSub(m->builder, one, LLVMBuildFPExt(m->builder, a, m->f64, ""), "");
    LLVMValueRef args[2] = {base, LLVMBuildFPExt(m->builder, exponent, m->f64, "")};
    LLVMValueRef power = cg_intrinsic(m, "llvm.pow", args, 2);
    LLVMValueRef rest = LLVMBuildFSub(m->builder, one, power, "");
    return LLVMBuildFPTrunc(m->builder, rest, m->f32, "");
}

typedef struct product {
    LLVMValueRef high, low;
} product;

static product multiply(const cg_module *m, LLVMValueRef a, unsigned long long factor) {
    LLVMBuilderRef b = m->builder;
    LLVMValueRef wide =
        LLVMBuildMul(b, LLVMBuildZExt(b, a, m->i64, ""), LLVMConstInt(m->i64, factor, false), "");
    LLVMValueRef high = LLVMBuildLShr(b, wide, LLVMConstInt(m->i64, 32, false), "");
    return (product){LLVMBuildTrunc(b, high, m->i32, ""), LLVMBuildTrunc(b, wide, m->i32, "")};
}

/* Salmon et al., SC 2011; see ir/eval.h for the counter. */
LLVMValueRef cg_math_philox(const cg_module *m, const LLVMValueRef counter[4],
                            const LLVMValueRef key[2]) {
    LLVMBuilderRef b = m->builder;
    LLVMValueRef c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; round++) {
        product p = multiply(m, c[0], 0xD2511F53u), q = multiply(m, c[2], 0xCD9E8D57u);
        LLVMValueRef first = LLVMBuildXor(b, LLVMBuildXor(b, q.high, c[1], ""), k[0], "");
        LLVMValueRef third = LLVMBuildXor(b, LLVMBuildXor(b, p.high, c[3], ""), k[1], "");
        c[0] = first, c[1] = q.low, c[2] = third, c[3] = p.low;
        k[0] = LLVMBuildAdd(b, k[0], LLVMConstInt(m->i32, 0x9E3779B9u, false), "");
        k[1] = LLVMBuildAdd(b, k[1], LLVMConstInt(m->i32, 0xBB67AE85u, false), "");
    }
    LLVMValueRef word = LLVMBuildLShr(b, c[0], LLVMConstInt(m->i32, 8, false), "");
    LLVMValueRef number = LLVMBuildUIToFP(b, word, m->f32, "");
    return LLVMBuildFMul(b, number, LLVMConstReal(m->f32, 0x1p-24), "");
}
