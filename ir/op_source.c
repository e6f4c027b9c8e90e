/* Sources: tensors that come from outside the graph. */
#include "op_util.h"

#include <string.h>

static bool from_shape(const ir_shape_args *args, ir_type *out) {
    *out = ir_type_make(IR_F32, args->attrs->shape.count, args->attrs->shape.item);
    return true;
}

OP_SHAPE(input) {
    return from_shape(args, out);
}
OP_SHAPE(param) {
    static const char *const starts[] = {"zeros", "ones", "constant", "normal", "trunc_normal"};
    const char *init = args->attrs->init;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strcmp(init, starts[i]) == 0) return from_shape(args, out);
    return ir_shape_error(
        args, "unknown init '%s', expected zeros, ones, constant, normal or trunc_normal", init);
}
OP_SHAPE(state) {
    return from_shape(args, out);
}
OP_SHAPE(constant) {
    return from_shape(args, out);
}
OP_SHAPE(lr) {
    (void)args;
    *out = ir_type_make(IR_F32, 0, NULL);
    return true;
}
OP_SHAPE(step) {
    (void)args;
    *out = ir_type_make(IR_I64, 0, NULL);
    return true;
}
