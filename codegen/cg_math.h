/* Functions of f32 vectors of any width, branch-free, to about f32 accuracy; NaN in gives NaN out.
 */
#ifndef CG_MATH_H
#define CG_MATH_H

#include "cg_builder.h"

LLVMValueRef cg_math_exp(const cg_module *m, LLVMValueRef x);
LLVMValueRef cg_math_log(const cg_module *m, LLVMValueRef x);
LLVMValueRef cg_math_sigmoid(const cg_module *m, LLVMValueRef x);
LLVMValueRef cg_math_gelu(const cg_module *m, LLVMValueRef x);
LLVMValueRef cg_math_gelu_slope(const cg_module *m, LLVMValueRef x);
LLVMValueRef cg_math_gelu_tanh(const cg_module *m, LLVMValueRef x);
LLVMValueRef cg_math_gelu_tanh_slope(const cg_module *m, LLVMValueRef x);
/* 1 - (1 - a)^exponent in double through libm's pow; scalars. */
LLVMValueRef cg_math_one_minus_pow(const cg_module *m, LLVMValueRef a, LLVMValueRef exponent);
/* First word of Philox4x32-10 as a fraction in [0,1); counter words are i32 scalars. */
LLVMValueRef cg_math_philox(const cg_module *m, const LLVMValueRef counter[4],
                            const LLVMValueRef key[2]);

#endif
