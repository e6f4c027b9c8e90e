#include "cg_header.h"

#include "cg_header_facts.h"
#include "cg_program.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

typedef struct header {
    const ir_plan *plan;
    const cg_object_options *options;
    ir_arena *arena;
    const char *lower, *upper; /* the prefix, and the prefix of macros */
    const char **io_name;      /* of inputs and outputs as parameters */
    ir_text *out;
} header;

/* ---- text ---- */

/* Appends a template, in which $ stands for the prefix and @ for the prefix of macros. */
static void put(const header *h, const char *template) {
    for (const char *p = template; *p;) {
        size_t plain = strcspn(p, "$@");
        ir_text_append(h->out, p, plain);
        p += plain;
        if (*p) ir_text_printf(h->out, "%s", *p++ == '$' ? h->lower : h->upper);
    }
}

static const char *upper_case(ir_arena *arena, const char *text) {
    char *copy = ir_arena_strndup(arena, text, strlen(text));
    for (char *p = copy; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return copy;
}

/* ---- names of tensors as parameters of C and C++ functions ---- */

/* Words that mean something else: in C, in C++, as a macro that compilers set, as a type or another
 * parameter of these functions. */
static const char *const taken[] = {"NULL",
                                    "alignas",
                                    "alignof",
                                    "and",
                                    "and_eq",
                                    "asm",
                                    "auto",
                                    "bitand",
                                    "bitor",
                                    "bool",
                                    "break",
                                    "case",
                                    "catch",
                                    "char",
                                    "char16_t",
                                    "char32_t",
                                    "char8_t",
                                    "class",
                                    "co_await",
                                    "co_return",
                                    "co_yield",
                                    "compl",
                                    "concept",
                                    "const",
                                    "const_cast",
                                    "consteval",
                                    "constexpr",
                                    "constinit",
                                    "continue",
                                    "decltype",
                                    "default",
                                    "delete",
                                    "do",
                                    "double",
                                    "dynamic_cast",
                                    "else",
                                    "enum",
                                    "explicit",
                                    "export",
                                    "extern",
                                    "false",
                                    "float",
                                    "for",
                                    "friend",
                                    "goto",
                                    "i386",
                                    "if",
                                    "inline",
                                    "int",
                                    "int32_t",
                                    "int64_t",
                                    "linux",
                                    "long",
                                    "lr",
                                    "mutable",
                                    "namespace",
                                    "new",
                                    "noexcept",
                                    "not",
                                    "not_eq",
                                    "nullptr",
                                    "offsetof",
                                    "operator",
                                    "or",
                                    "or_eq",
                                    "private",
                                    "protected",
                                    "public",
                                    "register",
                                    "reinterpret_cast",
                                    "requires",
                                    "restrict",
                                    "return",
                                    "seed",
                                    "short",
                                    "signed",
                                    "size_t",
                                    "sizeof",
                                    "state",
                                    "static",
                                    "static_assert",
                                    "static_cast",
                                    "step",
                                    "struct",
                                    "switch",
                                    "template",
                                    "this",
                                    "thread_local",
                                    "threads",
                                    "throw",
                                    "true",
                                    "try",
                                    "typedef",
                                    "typeid",
                                    "typename",
                                    "typeof",
                                    "typeof_unqual",
                                    "uint16_t",
                                    "uint64_t",
                                    "union",
                                    "unix",
                                    "unsigned",
                                    "using",
                                    "virtual",
                                    "void",
                                    "volatile",
                                    "wchar_t",
                                    "weights",
                                    "while",
                                    "workspace",
                                    "xor",
                                    "xor_eq"};

/* Macros of sizes are the names in capitals: two names must differ in more than case. */
static bool is_free(const header *h, const char *name, int32_t before) {
    static const char *const own[] = {"threads", "task", "parameter", "parameters"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(name, taken[i]) == 0) return false;
    for (int32_t i = 0; i < before; i++)
        if (strcasecmp(name, h->io_name[i]) == 0) return false;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, ir_arena_printf(h->arena, "%s_%s", h->lower, own[i])) == 0) return false;
    return true;
}

static const char *c_name(const header *h, const char *name, int32_t before) {
    bool digit = isdigit((unsigned char)*name);
    char *copy = ir_arena_printf(h->arena, "%s%s", digit ? "_" : "", name);
    for (char *p = copy; *p; p++)
        if (!isalnum((unsigned char)*p)) *p = '_';
    while (!is_free(h, copy, before))
        copy = ir_arena_printf(h->arena, "%s_", copy);
    return copy;
}

static void put_shape(const header *h, ir_type type) {
    for (int d = 0; d < type.rank; d++)
        ir_text_printf(h->out, "%s%lld", d ? "," : "", (long long)type.dim[d]);
}

static const char *c_type(ir_dtype dtype) {
    switch (dtype) {
    case IR_F32: return "float";
    case IR_I64: return "int64_t";
    case IR_I32: return "int32_t";
    case IR_BF16: return "uint16_t";
    case IR_DTYPE_COUNT: break;
    }
    IR_BUG("element type %d", (int)dtype);
}

/* ---- parts of the header ---- */

static const char *kind_words(ir_kind kind) {
    switch (kind) {
    case IR_KIND_INFER: return "inference";
    case IR_KIND_GRAD: return "loss and gradients";
    case IR_KIND_TRAIN: return "a training step: forward, backward and update";
    }
    IR_BUG("kind %d", (int)kind);
}

static void put_intro(const header *h) {
    const ir_plan *plan = h->plan;
    ir_text_printf(h->out, "/* %s, %s, batch %lld. Written by cnxc for %s%s%s.\n *\n", plan->name,
                   kind_words(plan->kind), (long long)plan->batch, h->options->machine->facts.name,
                   h->options->triple ? " of " : "", h->options->triple ? h->options->triple : "");
    put(h, " * Memory is the caller's: a state and a workspace, both aligned to @_ALIGNMENT bytes. "
           "The\n * state must be prepared by $_init; the workspace holds nothing between calls. "
           "Link with\n * libm. Calls on different state and workspace may run at the same time.\n"
           " *\n"
           " *     void *state = aligned_alloc(@_ALIGNMENT, @_STATE_SIZE);\n"
           " *     void *workspace = aligned_alloc(@_ALIGNMENT, @_WORKSPACE_SIZE);\n");
    bool embedded = h->options->weights != NULL;
    put(h, embedded
               ? " *     int code = $_init(state, NULL);        the weights are in the object\n"
               : " *     int code = $_init(state, weights);\n");
    put(h, " *     if (code) puts($_error(code));\n */\n#ifndef @_H\n#define @_H\n\n"
           "#include <stddef.h>\n#include <stdint.h>\n");
    ir_text_printf(h->out, "#ifdef _OPENMP\n#include <%s.h>\n#endif\n\n", "omp");
    put(h, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
}

static void put_macro(const header *h, const char *name, int64_t value, const char *doc) {
    char text[160];
    int length =
        snprintf(text, sizeof text, "#define %s_%s %lld", h->upper, name, (long long)value);
    ir_text_printf(h->out, "%s%*s/* %s */\n", text, length < 46 ? 46 - length : 1, "", doc);
}

static void put_macros(const header *h) {
    const ir_plan *plan = h->plan;
    put_macro(h, "BATCH", plan->batch, "images of a call");
    put_macro(h, "ALIGNMENT", 64, "of state and workspace, bytes");
    put_macro(h, "STATE_SIZE", plan->state_bytes ? plan->state_bytes : 64, "bytes");
    put_macro(h, "WORKSPACE_SIZE", plan->workspace_bytes ? plan->workspace_bytes : 64, "bytes");
    put_macro(h, "WEIGHTS_SIZE", 4 * plan->weights_elements, "bytes of the f32 weights");
    put_macro(h, "MAX_THREADS", plan->workers, "more threads than these are not used");
    put_macro(h, "PARAMETERS", (int64_t)plan->weight_count, "rows of the table below");
    for (int32_t i = 0; i < cg_program_io_count(plan); i++) {
        const ir_buffer *b = cg_program_io(plan, i);
        const char *name = upper_case(h->arena, h->io_name[i]);
        put_macro(h, ir_arena_printf(h->arena, "%s_ELEMENTS", name), ir_type_elements(b->type),
                  ir_arena_printf(h->arena, "of %s", b->name));
    }
    bool own = h->options->metas != NULL;
    cg_header_facts(h->upper, own ? h->options->metas : plan->metas,
                    own ? h->options->meta_count : plan->meta_count, h->out);
    put(h, "\n/* What the functions return; $_error says it in words. */\n");
    for (size_t i = 0; i < cg_code_count(); i++)
        put_macro(h, cg_code_at(i)->name, cg_code_at(i)->value, cg_code_at(i)->text);
}

static void put_threads(const header *h) {
    put(h,
        "\n/* Threads come from the caller. parallel_for runs body(argument, t, w) for every t in\n"
        " * [0, tasks), each once, on at most `workers` workers with w in [0, workers), two tasks "
        "with\n * the same w never at the same time, and returns when all are done. Results do "
        "not depend on\n * the number of threads; a NULL pointer runs serially. More than "
        "@_MAX_THREADS are of no use:\n * what --threads said to cnxc, or else the cores that it "
        "ran on. */\n"
        "typedef void (*$_task)(void *argument, int64_t task, int64_t worker);\n"
        "typedef struct $_threads {\n"
        "    void (*parallel_for)(void *context, int64_t tasks, int64_t workers, $_task body,\n"
        "                         void *argument);\n"
        "    void *context; /* passed to parallel_for */\n"
        "    int64_t count; /* of workers */\n"
        "} $_threads;\n");
}

static void put_table(const header *h) {
    const ir_plan *plan = h->plan;
    put(h, "\n/* The parameters in the order of the weights: offset and size in f32 elements. */\n"
           "typedef struct $_parameter {\n"
           "    const char *name;\n"
           "    size_t offset, elements;\n"
           "    int rank;\n"
           "    int64_t shape[6];\n"
           "} $_parameter;\n");
    if (!plan->weight_count) return;
    put(h, "static const $_parameter $_parameters[@_PARAMETERS] = {\n");
    for (size_t i = 0; i < plan->weight_count; i++) {
        const ir_weight *w = &plan->weights[i];
        ir_text_printf(h->out, "    {\"%s\", %lld, %lld, %d, {", w->name, (long long)w->offset,
                       (long long)ir_type_elements(w->type), w->type.rank);
        put_shape(h, w->type);
        ir_text_printf(h->out, "%s}},\n", w->type.rank ? "" : "0");
    }
    ir_text_printf(h->out, "};\n");
}

/* One line per input or output: "const float *image, (16,1,28,28)". */
static void put_io_doc(const header *h) {
    for (int32_t i = 0; i < cg_program_io_count(h->plan); i++) {
        const ir_buffer *b = cg_program_io(h->plan, i);
        ir_text_printf(h->out, " *   %-10s %s (", h->io_name[i],
                       b->class == IR_BUFFER_INPUT ? "in: " : "out:");
        put_shape(h, b->type);
        ir_text_printf(h->out, ") %s", ir_dtype_name(b->dtype));
        if (b->mask.tiles)
            ir_text_printf(h->out, ", 1 = removed, 0 at %lld of %lld in every row",
                           (long long)b->mask.kept, (long long)b->mask.tiles);
        if (b->mask.drawn) ir_text_printf(h->out, ";\n *   %-10s     rows of -1 are drawn", "");
        if (cg_program_io_optional(h->plan, i))
            ir_text_printf(h->out, " from step and seed; NULL draws all");
        if (strcmp(b->name, "label") == 0 && h->options->classes > 0)
            ir_text_printf(h->out, ", each in [0, %lld)", (long long)h->options->classes);
        ir_text_printf(h->out, "\n");
    }
}

static void put_io(const header *h, bool outputs) {
    for (int32_t i = 0; i < cg_program_io_count(h->plan); i++) {
        const ir_buffer *b = cg_program_io(h->plan, i);
        bool output = b->class == IR_BUFFER_OUTPUT;
        if (output != outputs) continue;
        ir_text_printf(h->out, ",\n    %s%s *%s", output ? "" : "const ", c_type(b->dtype),
                       h->io_name[i]);
    }
}

static void put_init(const header *h) {
    put(h, "\n/* Prepares a state. `weights`: @_WEIGHTS_SIZE bytes of f32 in the order of the\n * "
           "table");
    if (h->options->weights) put(h, "; NULL takes the weights in the object");
    put(h, ". */\nint32_t $_init(void *state, const float *weights);\n");
}

static void put_run(const header *h) {
    bool train = h->plan->kind == IR_KIND_TRAIN;
    bool scalars = cg_program_takes_scalars(h->plan);
    put(h, train ? "\n/* One training step: the state holds the updated parameters afterwards.\n"
                 : "\n/* One run of the network.\n");
    put_io_doc(h);
    if (train) put(h, " *   lr         learning rate of this step\n");
    if (scalars)
        put(h, " *   step       from 1, one more with every step\n"
               " *   seed       key of all random numbers\n");
    if (train && h->options->update)
        ir_text_printf(h->out, " * The update is that of %s.\n", h->options->update);
    put(h, train ? " */\nint32_t $_step(\n    void *state, void *workspace"
                 : " */\nint32_t $_run(\n    const void *state, void *workspace");
    put_io(h, false);
    if (train) put(h, ",\n    float lr");
    if (scalars) put(h, ", uint64_t step, uint64_t seed");
    put_io(h, true);
    put(h, ",\n    const $_threads *threads);\n");
    if (h->plan->kind == IR_KIND_INFER) return;
    put(h, "\n/* Copies the parameters out of a state, in the order in which $_init takes them. "
           "*/\nint32_t $_export(const void *state, float *weights);\n");
}

static void put_openmp(const header *h) {
    put(h, "\n/* A code in words. */\nconst char *$_error(int32_t code);\n\n"
           "#ifdef _OPENMP\n"
           "static inline void $_openmp_for(void *context, int64_t tasks, int64_t workers,\n"
           "                                $_task body, void *argument) {\n"
           "    (void)context;\n"
           "#pragma omp parallel num_threads((int)workers)\n"
           "    {\n"
           "        int64_t worker = omp_get_thread_num(), count = omp_get_num_threads();\n"
           "        int64_t last = tasks * (worker + 1) / count;\n"
           "        for (int64_t t = tasks * worker / count; t < last; t++)\n"
           "            body(argument, t, worker);\n"
           "    }\n"
           "}\n"
           "/* The threads OpenMP has. */\n"
           "static inline $_threads $_openmp_threads(void) {\n"
           "    $_threads threads = {$_openmp_for, NULL, omp_get_max_threads()};\n"
           "    return threads;\n"
           "}\n"
           "#endif\n\n"
           "#ifdef __cplusplus\n}\n#endif\n\n#endif\n");
}

void cg_header_print(const ir_plan *plan, const cg_object_options *options, ir_text *out) {
    header h = {.plan = plan,
                .options = options,
                .arena = ir_arena_new(),
                .lower = options->prefix,
                .out = out};
    h.upper = upper_case(h.arena, options->prefix);
    int32_t count = cg_program_io_count(plan);
    h.io_name = ir_arena_alloc(h.arena, ((size_t)count + 1) * sizeof *h.io_name);
    for (int32_t i = 0; i < count; i++)
        h.io_name[i] = c_name(&h, cg_program_io(plan, i)->name, i);
    put_intro(&h);
    put_macros(&h);
    put_threads(&h);
    put_table(&h);
    put_init(&h);
    put_run(&h);
    put_openmp(&h);
    ir_arena_free(h.arena);
}
