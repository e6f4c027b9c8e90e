/* Files of weights of any member of the family, made up: timm's names and shapes, cnx's names for
 * the decoder of FCMAE, and bytes by counter.
 *
 *     made m = made_weights(&(made_shape){.dims = {40, 80, 160, 320}, .depths = {2, 2, 6, 2}});
 *     rt_tensors_write(path, m.tensors, m.count, NULL, 0, &error);
 *     made_free(&m);
 */
#ifndef MADE_WEIGHTS_H
#define MADE_WEIGHTS_H

#include "rt_safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MADE_MOST = 512 };

typedef struct made {
    rt_tensor tensors[MADE_MOST];
    size_t count;
    rt_dtype dtype;
    uint64_t random;
    bool hollow; /* names and shapes only */
} made;

static inline size_t made_bytes(const rt_tensor *t) {
    return (size_t)rt_tensor_elements(t) * (size_t)rt_dtype_bytes(t->dtype);
}

static inline void made_add(made *m, const char *name, int rank, const int64_t *dim) {
    assert_true(m->count < MADE_MOST);
    rt_tensor *t = &m->tensors[m->count++];
    *t = (rt_tensor){.name = strdup(name), .dtype = m->dtype, .rank = rank};
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
    if (m->hollow) return;
    uint8_t *data = malloc(made_bytes(t));
    assert_non_null(data);
    for (size_t i = 0; i < made_bytes(t); i++) {
        m->random = m->random * 6364136223846793005u + 1442695040888963407u;
        data[i] = (uint8_t)(m->random >> 56);
    }
    t->data = data;
}

#define MADE_ADD(m, rank, name, ...) made_add(m, name, rank, (const int64_t[]){__VA_ARGS__})

static inline void made_block(made *m, const char *block, int64_t c, bool conv,
                              bool first_version) {
    char name[128];
#define IN_BLOCK(part) (snprintf(name, sizeof name, "%s.%s", block, part), name)
    MADE_ADD(m, 4, IN_BLOCK("conv_dw.weight"), c, 1, 7, 7);
    MADE_ADD(m, 1, IN_BLOCK("conv_dw.bias"), c);
    MADE_ADD(m, 1, IN_BLOCK("norm.weight"), c);
    MADE_ADD(m, 1, IN_BLOCK("norm.bias"), c);
    MADE_ADD(m, conv ? 4 : 2, IN_BLOCK("mlp.fc1.weight"), 4 * c, c, 1, 1);
    MADE_ADD(m, 1, IN_BLOCK("mlp.fc1.bias"), 4 * c);
    if (!first_version) MADE_ADD(m, 1, IN_BLOCK("mlp.grn.weight"), 4 * c);
    if (!first_version) MADE_ADD(m, 1, IN_BLOCK("mlp.grn.bias"), 4 * c);
    MADE_ADD(m, conv ? 4 : 2, IN_BLOCK("mlp.fc2.weight"), c, 4 * c, 1, 1);
    MADE_ADD(m, 1, IN_BLOCK("mlp.fc2.bias"), c);
    if (first_version) MADE_ADD(m, 1, IN_BLOCK("gamma"), c);
#undef IN_BLOCK
}

typedef struct made_shape {
    int64_t dims[4];
    int depths[4];
    bool conv, first_version;
    int64_t classes; /* 0: no head */
    int decoder;     /* depth; 0: no FCMAE */
    rt_dtype dtype;
    bool hollow;
} made_shape;

/* A file by timm's names; cnx's own names of FCMAE's decoder. */
static inline made made_weights(const made_shape *s) {
    made m = {.dtype = s->dtype, .random = 1, .hollow = s->hollow};
    const int64_t *d = s->dims;
    char name[128];
    MADE_ADD(&m, 4, "stem.0.weight", d[0], 3, 4, 4);
    MADE_ADD(&m, 1, "stem.0.bias", d[0]);
    MADE_ADD(&m, 1, "stem.1.weight", d[0]);
    MADE_ADD(&m, 1, "stem.1.bias", d[0]);
    for (int i = 0; i < 4; i++) {
#define IN_STAGE(part) (snprintf(name, sizeof name, "stages.%d.%s", i, part), name)
        if (i > 0) MADE_ADD(&m, 1, IN_STAGE("downsample.0.weight"), d[i - 1]);
        if (i > 0) MADE_ADD(&m, 1, IN_STAGE("downsample.0.bias"), d[i - 1]);
        if (i > 0) MADE_ADD(&m, 4, IN_STAGE("downsample.1.weight"), d[i], d[i - 1], 2, 2);
        if (i > 0) MADE_ADD(&m, 1, IN_STAGE("downsample.1.bias"), d[i]);
#undef IN_STAGE
        for (int b = 0; b < s->depths[i]; b++) {
            snprintf(name, sizeof name, "stages.%d.blocks.%d", i, b);
            char block[128];
            strcpy(block, name);
            made_block(&m, block, d[i], s->conv, s->first_version);
        }
    }
    if (s->classes) {
        MADE_ADD(&m, 1, "head.norm.weight", d[3]);
        MADE_ADD(&m, 1, "head.norm.bias", d[3]);
        MADE_ADD(&m, 2, "head.fc.weight", s->classes, d[3]);
        MADE_ADD(&m, 1, "head.fc.bias", s->classes);
    }
    if (s->decoder) {
        MADE_ADD(&m, 4, "proj.weight", 6, d[3], 1, 1);
        MADE_ADD(&m, 1, "proj.bias", 6);
        MADE_ADD(&m, 4, "mask_token", 1, 6, 1, 1);
        MADE_ADD(&m, 4, "pred.weight", 12, 6, 1, 1);
        MADE_ADD(&m, 1, "pred.bias", 12);
    }
    for (int k = 0; k < s->decoder; k++) {
        char block[64];
        snprintf(block, sizeof block, "decoder.%d", k);
        made_block(&m, block, 6, false, false);
    }
    return m;
}

static inline void made_free(made *m) {
    for (size_t i = 0; i < m->count; i++) {
        free((char *)m->tensors[i].name);
        free((void *)m->tensors[i].data);
    }
}

#endif
