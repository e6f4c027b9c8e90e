/* Prints a plan: header, weights, buffers, kernels, regions. Deterministic; reads nothing but the
 * plan. Statements are numbered by their index; constants stand where they are used. */
#include "graph_text.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

/* A loop's name, with its index when another loop of the kernel has the same name. */
static void put_loop(ir_text *out, const ir_kernel *k, int32_t loop) {
    const char *name = k->loops[loop].name ? k->loops[loop].name : "l";
    bool unique = true;
    for (size_t i = 0; i < k->loop_count; i++)
        if ((int32_t)i != loop && k->loops[i].name && strcmp(k->loops[i].name, name) == 0)
            unique = false;
    if (unique)
        ir_text_printf(out, "%s", name);
    else
        ir_text_printf(out, "%s%d", name, loop);
}

static void put_affine(ir_text *out, const ir_kernel *k, const ir_affine *at) {
    bool first = true;
    for (int i = 0; i < at->count; i++) {
        int64_t factor = at->term[i].factor;
        if (factor == 0) continue;
        if (!first)
            ir_text_printf(out, factor < 0 ? " - " : " + ");
        else if (factor < 0)
            ir_text_printf(out, "-");
        int64_t size = factor < 0 ? -factor : factor;
        if (size != 1) ir_text_printf(out, "%lld ", (long long)size);
        put_loop(out, k, at->term[i].loop);
        first = false;
    }
    if (first)
        ir_text_printf(out, "%lld", (long long)at->base);
    else if (at->base)
        ir_text_printf(out, " %c %lld", at->base < 0 ? '-' : '+', llabs((long long)at->base));
}

static void put_extent(ir_text *out, const ir_kernel *k, ir_extent extent) {
    if (extent.loop < 0)
        ir_text_printf(out, "%lld", (long long)extent.fixed);
    else
        put_loop(out, k, extent.loop);
}

static void put_shape(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    ir_text_printf(out, " (");
    put_extent(out, k, s->rows);
    ir_text_printf(out, ", ");
    put_extent(out, k, s->cols);
    ir_text_printf(out, ")");
}

static bool is_one(ir_extent extent) {
    return extent.loop < 0 && extent.fixed == 1;
}

static void put_value(ir_text *out, const ir_kernel *k, int32_t stmt) {
    if (stmt == IR_NO_STMT)
        ir_text_printf(out, "0");
    else if (k->stmts[stmt].op == IR_TILE_constant)
        ir_text_number(out, k->stmts[stmt].value, 6);
    else
        ir_text_printf(out, "%%%d", stmt);
}

static void put_guards(ir_text *out, const ir_kernel *k, const ir_access *access) {
    for (int i = 0; i < access->guard_count; i++) {
        ir_text_printf(out, i ? " and 0 <= " : " if 0 <= ");
        put_affine(out, k, &access->guard[i].value);
        ir_text_printf(out, " < %lld", (long long)access->guard[i].limit);
    }
}

static void put_place(ir_text *out, const ir_kernel *k, const ir_access *access) {
    const char *name = k->params[access->param].name;
    ir_text_printf(out, " %s[", name);
    put_affine(out, k, &access->at);
    if (access->table >= 0) {
        ir_text_printf(out, " + %s[", k->params[access->table].name);
        put_affine(out, k, &access->table_at);
        ir_text_printf(out, "] of lines %lld places %lld wrap %lld", (long long)access->table_line,
                       (long long)access->table_scale, (long long)access->table_wrap);
    }
    ir_text_printf(out, "]");
}

static void put_access(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    put_place(out, k, &s->access);
    if (!is_one(s->rows)) ir_text_printf(out, " rows %lld", (long long)s->access.row_stride);
    if (!is_one(s->cols) && s->access.col_stride != 1)
        ir_text_printf(out, " cols %lld", (long long)s->access.col_stride);
}

static void put_window(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    const ir_window *w = s->window;
    ir_text_printf(out, " %dx%d%s on %lldx%lld", w->kernel_h, w->kernel_w,
                   w->flip     ? " flip"
                   : w->haloed ? " haloed"
                               : "",
                   (long long)w->height, (long long)w->width);
    ir_text_printf(out, w->loop_x < 0 ? " line " : " at (");
    put_loop(out, k, w->loop_y);
    if (w->loop_x >= 0) {
        ir_text_printf(out, ", ");
        put_loop(out, k, w->loop_x);
        ir_text_printf(out, ")");
    }
    put_shape(out, k, s);
    put_place(out, k, &w->image);
    ir_text_printf(out, " lines %lld pixels %lld", (long long)w->line_stride,
                   (long long)w->image.row_stride);
    put_guards(out, k, &w->image);
    if (s->op == IR_TILE_window) {
        put_place(out, k, &w->weight);
        ir_text_printf(out, " lines %lld taps %lld", (long long)w->tap_line,
                       (long long)w->weight.row_stride);
        put_guards(out, k, &w->weight);
    } else {
        put_place(out, k, &w->other);
        ir_text_printf(out, " lines %lld pixels %lld", (long long)w->other_line,
                       (long long)w->other.row_stride);
        put_guards(out, k, &w->other);
    }
    if (s->operand[0] != IR_NO_STMT) {
        ir_text_printf(out, " + ");
        put_value(out, k, s->operand[0]);
    }
}

static void put_operands(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    int count = ir_tile_get(s->op)->operands;
    for (int i = 0; i < count; i++) {
        ir_text_printf(out, i ? ", " : " ");
        put_value(out, k, s->operand[i]);
    }
}

static void put_range(ir_text *out, const ir_kernel *k, const ir_loop *l) {
    ir_text_printf(out, " in ");
    if (l->within >= 0)
        put_loop(out, k, l->within);
    else
        ir_text_printf(out, "%lld", (long long)l->extent);
}

static void put_loop_head(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    const ir_loop *l = &k->loops[s->loop];
    ir_text_printf(out, l->parallel ? "parallel " : "loop ");
    put_loop(out, k, s->loop);
    put_range(out, k, l);
    ir_text_printf(out, " step %lld", (long long)l->step);
    if (l->halo) ir_text_printf(out, " halo %lld", (long long)l->halo);
}

static void put_matmul(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    const ir_loop *l = &k->loops[s->loop];
    ir_text_printf(out, " ");
    put_loop(out, k, s->loop);
    put_range(out, k, l);
    if (l->unroll) ir_text_printf(out, " unroll %d", l->unroll);
    put_shape(out, k, s);
    ir_text_printf(out, " ");
    put_value(out, k, s->operand[1]);
    ir_text_printf(out, " ");
    put_value(out, k, s->operand[2]);
    if (s->operand[0] != IR_NO_STMT) {
        ir_text_printf(out, " + ");
        put_value(out, k, s->operand[0]);
    }
}

static void put_uniform(ir_text *out, const ir_kernel *k, const ir_stmt *s) {
    ir_text_printf(out, " stream %lld sample ", (long long)s->stream);
    put_affine(out, k, &s->sample);
    ir_text_printf(out, " index ");
    put_affine(out, k, &s->access.at);
    ir_text_printf(out, " rows %lld cols %lld of %s", (long long)s->access.row_stride,
                   (long long)s->access.col_stride, k->params[s->access.param].name);
    put_shape(out, k, s);
}

static void put_stmt(ir_text *out, const ir_kernel *k, int32_t id) {
    const ir_stmt *s = &k->stmts[id];
    if (s->op == IR_TILE_loop) {
        put_loop_head(out, k, s);
        return;
    }
    if (s->op != IR_TILE_store) ir_text_printf(out, "%%%d = ", id);
    ir_text_printf(out, "%s", ir_tile_get(s->op)->name);
    if (s->op == IR_TILE_matmul) {
        put_matmul(out, k, s);
    } else if (s->op == IR_TILE_window || s->op == IR_TILE_window_dw) {
        put_window(out, k, s);
    } else if (s->op == IR_TILE_load) {
        put_access(out, k, s);
        put_shape(out, k, s);
        put_guards(out, k, &s->access);
    } else if (s->op == IR_TILE_store) {
        put_access(out, k, s);
        put_shape(out, k, s);
        ir_text_printf(out, " = ");
        put_value(out, k, s->operand[0]);
        put_guards(out, k, &s->access);
    } else if (s->op == IR_TILE_iota) {
        ir_text_printf(out, " ");
        put_affine(out, k, &s->access.at);
        ir_text_printf(out, " rows %lld cols %lld", (long long)s->access.row_stride,
                       (long long)s->access.col_stride);
        put_shape(out, k, s);
    } else if (s->op == IR_TILE_uniform) {
        put_uniform(out, k, s);
    } else {
        put_operands(out, k, s);
        put_shape(out, k, s);
    }
}

void ir_kernel_print(const ir_kernel *k, ir_text *out) {
    ir_text_printf(out, "kernel %s(", k->name);
    for (size_t i = 0; i < k->param_count; i++)
        ir_text_printf(out, "%s%s %s%s", i ? ", " : "", k->params[i].name,
                       ir_dtype_name(k->params[i].dtype), k->params[i].written ? " out" : "");
    ir_text_printf(out, ") tasks %lld", (long long)k->tasks);
    if (k->macs) ir_text_printf(out, " macs %lld", (long long)k->macs);
    if (k->bytes) ir_text_printf(out, " bytes %lld", (long long)k->bytes);
    if (k->doc && k->doc[0]) ir_text_printf(out, "  # %s", k->doc);
    ir_text_printf(out, "\n");
    int depth = 0;
    int32_t ends[64];
    for (size_t i = 0; i < k->stmt_count; i++) {
        while (depth && ends[depth - 1] <= (int32_t)i)
            depth--;
        const ir_stmt *s = &k->stmts[i];
        if (s->op == IR_TILE_constant) continue;
        ir_text_printf(out, "%*s", 2 + 2 * depth, "");
        put_stmt(out, k, (int32_t)i);
        ir_text_printf(out, "\n");
        if (ir_tile_get(s->op)->kind != IR_TILE_REGION) continue;
        IR_ASSERT(depth < 64);
        ends[depth++] = s->end;
    }
}

static const char *class_name(ir_buffer_class class) {
    switch (class) {
    case IR_BUFFER_INPUT: return "input";
    case IR_BUFFER_OUTPUT: return "output";
    case IR_BUFFER_WEIGHTS: return "weights";
    case IR_BUFFER_STATE: return "state";
    case IR_BUFFER_ARENA: return "arena";
    case IR_BUFFER_PRIVATE: return "private";
    case IR_BUFFER_SCALARS: return "scalars";
    }
    IR_BUG("buffer class %d", (int)class);
}

static void put_buffer(ir_text *out, const ir_plan *plan, size_t id) {
    const ir_buffer *b = &plan->buffers[id];
    ir_text_printf(out, "buffer #%zu %s ", id, b->name ? b->name : "-");
    ir_type_print(out, b->type);
    if (b->dtype != b->type.dtype) ir_text_printf(out, " as %s", ir_dtype_name(b->dtype));
    ir_text_printf(out, " %s", class_name(b->class));
    switch (b->class) {
    case IR_BUFFER_INPUT:
    case IR_BUFFER_OUTPUT: ir_text_printf(out, " %d", b->index); break;
    case IR_BUFFER_STATE: ir_text_printf(out, " at %lld", (long long)b->offset); break;
    case IR_BUFFER_ARENA:
    case IR_BUFFER_PRIVATE:
        ir_text_printf(out, " at %lld live %d..%d", (long long)b->offset, b->first, b->last);
        break;
    case IR_BUFFER_WEIGHTS:
    case IR_BUFFER_SCALARS: break;
    }
    ir_text_printf(out, " bytes %lld", (long long)b->bytes);
    if (b->mask.tiles)
        ir_text_printf(out, " mask keeps %lld of %lld%s", (long long)b->mask.kept,
                       (long long)b->mask.tiles, b->mask.drawn ? ", may be drawn" : "");
    ir_text_printf(out, "\n");
}

static void put_regions(ir_text *out, const ir_plan *plan, const char *title,
                        const ir_region *regions, size_t count) {
    ir_text_printf(out, "\n%s\n", title);
    for (size_t r = 0; r < count; r++) {
        ir_text_printf(out, "  region %zu tasks %lld%s\n", r, (long long)regions[r].tasks,
                       regions[r].spread ? " spread" : "");
        for (size_t c = 0; c < regions[r].call_count; c++) {
            const ir_call *call = &regions[r].calls[c];
            const ir_kernel *k = &plan->kernels[call->kernel];
            ir_text_printf(out, "    %s(", k->name);
            for (size_t a = 0; a < k->param_count; a++) {
                const ir_argument *argument = &call->arguments[a];
                ir_text_printf(out, "%s#%d", a ? ", " : "", argument->buffer);
                if (argument->offset) ir_text_printf(out, "+%lld", (long long)argument->offset);
            }
            ir_text_printf(out, ")\n");
        }
    }
}

void ir_plan_print(const ir_plan *plan, ir_text *out) {
    ir_text_printf(out, "plan %s %s batch %lld workers %lld machine %s\n", plan->name,
                   ir_kind_names[plan->kind], (long long)plan->batch, (long long)plan->workers,
                   plan->machine ? plan->machine->name : "-");
    ir_text_printf(out, "weights %zu elements %lld\n", plan->weight_count,
                   (long long)plan->weights_elements);
    ir_text_printf(out, "memory state %lld arena %lld private %lld workspace %lld naive %lld\n",
                   (long long)plan->state_bytes, (long long)plan->arena_bytes,
                   (long long)plan->private_bytes, (long long)plan->workspace_bytes,
                   (long long)plan->naive_bytes);
    ir_text_printf(out, "kernels %zu buffers %zu regions init %zu main %zu\n", plan->kernel_count,
                   plan->buffer_count, plan->init_count, plan->main_count);
    for (size_t i = 0; i < plan->meta_count; i++)
        ir_text_printf(out, "meta %s \"%s\"\n", plan->metas[i].key, plan->metas[i].value);
    if (plan->weight_count) ir_text_printf(out, "\n");
    for (size_t i = 0; i < plan->weight_count; i++) {
        const ir_weight *w = &plan->weights[i];
        ir_text_printf(out, "weight %s ", w->name);
        ir_type_print(out, w->type);
        ir_text_printf(out, " at %lld\n", (long long)w->offset);
    }
    if (plan->buffer_count) ir_text_printf(out, "\n");
    for (size_t i = 0; i < plan->buffer_count; i++)
        put_buffer(out, plan, i);
    for (size_t i = 0; i < plan->kernel_count; i++) {
        ir_text_printf(out, "\n");
        ir_kernel_print(&plan->kernels[i], out);
    }
    put_regions(out, plan, "init", plan->init, plan->init_count);
    put_regions(out, plan, "main", plan->main, plan->main_count);
}
