#include "rt_axes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 26, MOST_AXES = RT_MAX_RANK * RT_MERGED_AXES };

/* --- words --- */

static bool parse_dimension(const char *text, size_t length, rt_axes *axes) {
    if (axes->rank == RT_MAX_RANK || length == 0 || length > RT_MERGED_AXES) return false;
    char *letters = axes->dim[axes->rank].letters;
    if (length == 1 && (*text == '1' || *text == '?')) {
        axes->dim[axes->rank].optional = *text == '?';
    } else {
        for (size_t i = 0; i < length; i++) {
            if (text[i] < 'a' || text[i] > 'z' || memchr(text, text[i], i)) return false;
            for (int d = 0; d < axes->rank; d++)
                if (strchr(axes->dim[d].letters, text[i])) return false;
            letters[i] = text[i];
        }
    }
    axes->rank++;
    return true;
}

bool rt_axes_parse(const char *text, rt_axes *axes, rt_error *error) {
    *axes = (rt_axes){0};
    const char *at = text;
    for (;;) {
        size_t length = strcspn(at, ",");
        if (!parse_dimension(at, length, axes))
            return rt_fail(error,
                           "axes are '%.100s'; expected letters, each once, 1 or ? with commas "
                           "between, such as xy,i,o",
                           text);
        if (!at[length]) return true;
        at += length + 1;
    }
}

/* All letters in the order of the elements, the slowest first. */
static int order_of(const rt_axes *axes, char *letters) {
    int count = 0;
    for (int d = 0; d < axes->rank; d++)
        for (const char *l = axes->dim[d].letters; *l; l++)
            letters[count++] = *l;
    return count;
}

bool rt_axes_same_letters(const rt_axes *a, const rt_axes *b) {
    char of_a[MOST_AXES], of_b[MOST_AXES];
    int count = order_of(a, of_a);
    if (order_of(b, of_b) != count) return false;
    for (int i = 0; i < count; i++)
        if (!memchr(of_b, of_a[i], (size_t)count)) return false;
    return true;
}

/* --- sizes --- */

typedef struct sizes {
    int64_t of[LETTERS];
} sizes;

static int64_t *size_of(sizes *s, char letter) {
    return &s->of[letter - 'a'];
}

static bool power_of(int64_t base, int exponent, int64_t *power) {
    *power = 1;
    for (int i = 0; i < exponent; i++)
        if (!rt_multiply(*power, base, power)) return false;
    return true;
}

/* The whole number whose power is n, or -1. */
static int64_t root(int64_t n, int exponent) {
    int64_t low = 0, high = n, power;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (power_of(middle, exponent, &power) && power < n)
            low = middle + 1;
        else
            high = middle;
    }
    return power_of(low, exponent, &power) && power == n ? low : -1;
}

static bool is_literally(const rt_axes *axes, const rt_tensor *tensor) {
    bool same = tensor->rank == axes->rank;
    for (int d = 0; same && d < axes->rank; d++)
        same = axes->dim[d].letters[0] || tensor->dim[d] == 1;
    return same;
}

static bool misshapen(const rt_axes *axes, const rt_tensor *tensor, rt_error *error) {
    char shape[256], words[64];
    size_t at = 0;
    for (int d = 0; d < axes->rank; d++)
        at += (size_t)snprintf(words + at, sizeof words - at, "%s%s", d ? "," : "(",
                               axes->dim[d].letters[0] ? axes->dim[d].letters : "1");
    return rt_fail(error, "tensor '%.200s' has shape %s; expected %s)", tensor->name,
                   rt_tensor_shape(tensor, shape, sizeof shape), words);
}

/* The size of every letter. Dimensions of 1 that are in the way are passed over, at the end first:
 * (O,I,1,1) is (o,i), and (1,K) is (c). */
static bool measure(const rt_axes *axes, const rt_tensor *tensor, sizes *s, rt_error *error) {
    int first = 0, last = tensor->rank, groups = 0, at = 0;
    bool literally = is_literally(axes, tensor);
    for (int d = 0; d < axes->rank; d++)
        groups += axes->dim[d].letters[0] != 0;
    while (!literally && last - first > groups && tensor->dim[last - 1] == 1)
        last--;
    while (!literally && last - first > groups && tensor->dim[first] == 1)
        first++;
    if (!literally && last - first != groups) return misshapen(axes, tensor, error);
    for (int d = 0; d < axes->rank; d++) {
        const char *letters = axes->dim[d].letters;
        if (!*letters) {
            at += literally;
            continue;
        }
        int64_t size = root(tensor->dim[first + at++], (int)strlen(letters));
        if (size < 0) return misshapen(axes, tensor, error);
        for (const char *l = letters; *l; l++)
            *size_of(s, *l) = size;
    }
    return true;
}

static bool set_shape(const rt_axes_change *change, sizes *s, rt_tensor *out, rt_error *error) {
    int64_t bytes = rt_dtype_bytes(out->dtype);
    bool fits = true;
    out->rank = 0;
    for (int d = 0; fits && d < change->to->rank; d++) {
        int64_t size = 1;
        for (const char *l = change->to->dim[d].letters; fits && *l; l++)
            fits = rt_multiply(size, *size_of(s, *l), &size);
        fits = fits && rt_multiply(bytes, size, &bytes);
        if (change->to->dim[d].optional && !change->optional) continue;
        out->dim[out->rank++] = size;
    }
    return fits || rt_fail(error, "tensor '%.200s' is larger than any file", out->name);
}

/* --- elements --- */

/* Axes of the result, the slowest first: size, and elements between neighbours in the source. */
typedef struct walk {
    int rank;
    int64_t size[MOST_AXES], stride[MOST_AXES];
} walk;

/* The axes of more than one element; false if both store them in the same order. */
static bool plan_walk(const rt_axes_change *change, sizes *s, walk *w) {
    char from[MOST_AXES], to[MOST_AXES];
    int count = order_of(change->from, from), falling = 1; /* strides, from one to the next */
    order_of(change->to, to);
    int64_t stride[LETTERS], next = 1;
    for (int i = count - 1; i >= 0; i--) {
        stride[from[i] - 'a'] = next;
        next *= *size_of(s, from[i]);
    }
    w->rank = 0;
    for (int i = 0; i < count; i++) {
        if (*size_of(s, to[i]) == 1) continue;
        w->size[w->rank] = *size_of(s, to[i]);
        w->stride[w->rank++] = stride[to[i] - 'a'];
    }
    for (int i = 1; i < w->rank; i++)
        falling += w->stride[i] < w->stride[i - 1];
    return falling < w->rank;
}

static void *copy_elements(const walk *w, const rt_tensor *tensor, int64_t count) {
    size_t bytes = (size_t)rt_dtype_bytes(tensor->dtype);
    const uint8_t *base = tensor->data;
    uint8_t *copy = malloc((size_t)count * bytes);
    int64_t index[MOST_AXES] = {0}, from = 0;
    for (int64_t i = 0; copy && i < count; i++) {
        memcpy(copy + (size_t)i * bytes, base + (size_t)from * bytes, bytes);
        for (int d = w->rank - 1; d >= 0; d--) { /* count up, like an odometer */
            from += w->stride[d];
            if (++index[d] < w->size[d]) break;
            from -= w->stride[d] * w->size[d];
            index[d] = 0;
        }
    }
    return copy;
}

bool rt_axes_apply(const rt_axes_change *change, const rt_tensor *tensor, rt_tensor *out,
                   void **copy, rt_error *error) {
    sizes s = {{0}};
    walk w;
    *copy = NULL;
    *out = *tensor;
    if (!measure(change->from, tensor, &s, error)) return false;
    if (!set_shape(change, &s, out, error)) return false;
    int64_t count = rt_tensor_elements(tensor);
    if (count == 0 || !plan_walk(change, &s, &w)) return true;
    out->data = *copy = copy_elements(&w, tensor, count);
    return *copy || rt_fail(error, "out of memory");
}
