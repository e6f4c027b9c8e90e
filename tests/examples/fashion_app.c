/* A C program around two object files that cnxc wrote: the trained network, which classifies the
 * images of a batch, and its training step, which learns from them once. Both results are compared
 * with what the just-in-time compiled program computed. Needs libc, libm, and OpenMP for threads.
 *
 *     fashion_app BATCH WEIGHTS JIT_OUTPUTS JIT_STEP      (safetensors files)
 */
#include "fashion.h"
#include "fashion_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = FASHION_BATCH, CLASSES = FASHION_LOGITS_ELEMENTS / FASHION_BATCH };

/* A whole safetensors file: 8 bytes header size, the JSON header, then data. */
static char *load(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        rewind(file);
        text = calloc(1, (size_t)size + 1);
        if (text && fread(text, 1, (size_t)size, file) != (size_t)size) text = NULL;
    }
    if (!text) perror(path), exit(1);
    fclose(file);
    return text;
}

/* Where the data of one tensor starts. */
static const void *tensor(const char *file, const char *name) {
    char key[128];
    unsigned long long header, begin;
    memcpy(&header, file, 8);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(file + 8, key);
    at = at ? strstr(at, "\"data_offsets\":[") : NULL;
    if (!at || sscanf(at + 16, "%llu", &begin) != 1) {
        fprintf(stderr, "no tensor '%s'\n", name);
        exit(1);
    }
    return file + 8 + header + begin;
}

static void *aligned(size_t alignment, size_t bytes) {
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (!memory) perror("fashion_app"), exit(1);
    return memory;
}

static void check(int code, const char *what) {
    if (code) fprintf(stderr, "%s: code %d\n", what, code), exit(1);
}

static int best(const float *logits) {
    int k = 0;
    for (int i = 1; i < CLASSES; i++)
        if (logits[i] > logits[k]) k = i;
    return k;
}

static int classify(const char *batch, const char *jit) {
    void *state = aligned(FASHION_ALIGNMENT, FASHION_STATE_SIZE);
    void *workspace = aligned(FASHION_ALIGNMENT, FASHION_WORKSPACE_SIZE);
    float logits[BATCH * CLASSES]; /* (BATCH,CLASSES) */
    const float *want = tensor(jit, "logits");
    fashion_threads threads = fashion_openmp_threads();
    check(fashion_init(state, NULL), "fashion_init");
    check(fashion_run(state, workspace, tensor(batch, "image"), logits, &threads), "fashion_run");
    int agree = 0;
    for (int i = 0; i < BATCH; i++)
        agree += best(logits + i * CLASSES) == best(want + i * CLASSES);
    printf("object and JIT agree on %d/%d images, logits %s\n", agree, BATCH,
           memcmp(logits, want, sizeof logits) == 0 ? "bit for bit" : "not bit for bit");
    free(state), free(workspace);
    return agree == BATCH;
}

static int learn(const char *batch, const char *weights, const char *jit) {
    void *state = aligned(FASHION_TRAIN_ALIGNMENT, FASHION_TRAIN_STATE_SIZE);
    void *workspace = aligned(FASHION_TRAIN_ALIGNMENT, FASHION_TRAIN_WORKSPACE_SIZE);
    float *packed = aligned(FASHION_TRAIN_ALIGNMENT, FASHION_TRAIN_WEIGHTS_SIZE), loss;
    int equal = 1, n = (int)(sizeof fashion_train_parameters / sizeof *fashion_train_parameters);
    for (int i = 0; i < n; i++) { /* the header's table says where each tensor goes */
        const fashion_train_parameter *p = &fashion_train_parameters[i];
        memcpy(packed + p->offset, tensor(weights, p->name), p->elements * sizeof(float));
    }
    fashion_train_threads threads = fashion_train_openmp_threads();
    check(fashion_train_init(state, packed), "fashion_train_init");
    check(fashion_train_step(state, workspace, tensor(batch, "image"), tensor(batch, "label"),
                             0.001f, 1, 1, &loss, &threads),
          "fashion_train_step");
    check(fashion_train_export(state, packed), "fashion_train_export");
    for (int i = 0; i < n; i++) {
        const fashion_train_parameter *p = &fashion_train_parameters[i];
        equal &= memcmp(packed + p->offset, tensor(jit, p->name), p->elements * sizeof(float)) == 0;
    }
    equal &= memcmp(&loss, tensor(jit, "loss"), sizeof loss) == 0;
    printf("one training step: loss %.6f, loss and weights %s\n", loss,
           equal ? "equal bit for bit" : "differ from JIT");
    free(state), free(workspace), free(packed);
    return equal;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: fashion_app BATCH WEIGHTS JIT_OUTPUTS JIT_STEP\n");
        return 2;
    }
    char *batch = load(argv[1]), *weights = load(argv[2]), *jit = load(argv[3]);
    char *step = load(argv[4]);
    int ok = classify(batch, jit);
    ok &= learn(batch, weights, step);
    free(batch), free(weights), free(jit), free(step);
    return ok ? 0 : 1;
}
