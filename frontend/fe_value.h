/* Values of the language while a model is elaborated: numbers, texts and lists are known then; a
 * tensor is a value of the graph. POISON stands for the result of something that failed and was
 * reported; whatever touches it is poison, silently, so that one mistake gives one message.
 */
#ifndef FE_VALUE_H
#define FE_VALUE_H

#include "graph.h"

typedef enum fe_value_kind {
    FE_POISON,
    FE_VALUE_INT,
    FE_VALUE_FLOAT,
    FE_VALUE_BOOL,
    FE_VALUE_TEXT,
    FE_VALUE_LIST,
    FE_VALUE_TENSOR
} fe_value_kind;

typedef struct fe_list fe_list;

typedef struct fe_value {
    fe_value_kind kind;
    union {
        int64_t integer;
        double number;
        bool truth;
        const char *text;
        const fe_list *list;
        ir_value tensor;
    };
} fe_value;

/* Depth and total are bounded (fe_new_list), so that walking a list ends and needs little stack,
 * even where lists share lists. */
struct fe_list {
    size_t count;
    size_t total; /* elements of this list and those in it */
    int depth;    /* 1: no lists in it */
    fe_value items[];
};

static inline fe_value fe_poison(void) {
    return (fe_value){.kind = FE_POISON};
}
static inline fe_value fe_int(int64_t v) {
    return (fe_value){FE_VALUE_INT, {.integer = v}};
}
static inline fe_value fe_float(double v) {
    return (fe_value){FE_VALUE_FLOAT, {.number = v}};
}
static inline fe_value fe_bool(bool v) {
    return (fe_value){FE_VALUE_BOOL, {.truth = v}};
}
static inline fe_value fe_text(const char *v) {
    return (fe_value){FE_VALUE_TEXT, {.text = v}};
}
static inline fe_value fe_tensor(ir_value v) {
    return ir_some(v) ? (fe_value){FE_VALUE_TENSOR, {.tensor = v}} : fe_poison();
}

static inline bool fe_is_number(fe_value v) {
    return v.kind == FE_VALUE_INT || v.kind == FE_VALUE_FLOAT;
}
/* The value of a number of either kind. */
static inline double fe_number(fe_value v) {
    return v.kind == FE_VALUE_INT ? (double)v.integer : v.number;
}

/* "a whole number", "a list"... */
const char *fe_kind_name(fe_value_kind kind);
/* "the whole number 3", "the string \"abc\"", "a list": for messages. */
const char *fe_describe(ir_arena *arena, fe_value value);
/* As the language writes it; tensors as their kind. */
void fe_print_value(fe_value value, ir_text *out);
/* Equal kinds and contents; 1 equals 1.0. Tensors are equal if they are the same node. */
bool fe_equal(fe_value a, fe_value b);

#endif
