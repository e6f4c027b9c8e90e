/* Sources: tensors that come from outside the graph. */
#include "op_util.h"

static bool from_shape(const ir_shape_args *args, ir_type *out) {
    *out = ir_type_make(IR_F32, args->attrs->shape.count, args->attrs->shape.item);
    return true;
}

OP_SHAPE(input) { return from_shape(args, out); }
OP_SHAPE(param) { return from_shape(args, out); }
OP_SHAPE(state) { return from_shape(args, out); }
OP_SHAPE(constant) { return from_shape(args, out); }
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
