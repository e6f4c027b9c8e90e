/* Element types of tensors in files, and their conversion to what programs compute with. */
#include "rt_safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little-endian");

static const struct {
    const char *name;
    int bytes;
} dtypes[] = {
    [RT_F32] = {"F32", 4}, [RT_F16] = {"F16", 2},   [RT_BF16] = {"BF16", 2}, [RT_F64] = {"F64", 8},
    [RT_I64] = {"I64", 8}, [RT_I32] = {"I32", 4},   [RT_I16] = {"I16", 2},   [RT_I8] = {"I8", 1},
    [RT_U8] = {"U8", 1},   [RT_BOOL] = {"BOOL", 1}, [RT_U16] = {"U16", 2},   [RT_U32] = {"U32", 4},
    [RT_U64] = {"U64", 8},
};

const char *rt_dtype_name(rt_dtype dtype) {
    return dtypes[dtype].name;
}

int rt_dtype_bytes(rt_dtype dtype) {
    return dtypes[dtype].bytes;
}

bool rt_dtype_find(const char *name, rt_dtype *dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0) {
            *dtype = (rt_dtype)i;
            return true;
        }
    return false;
}

int64_t rt_tensor_elements(const rt_tensor *tensor) {
    int64_t elements = 1;
    for (int i = 0; i < tensor->rank; i++)
        elements *= tensor->dim[i];
    return elements;
}

char *rt_tensor_shape(const rt_tensor *tensor, char *text, size_t size) {
    size_t at = 0;
    for (int i = 0; i < tensor->rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%" PRId64, i ? "," : "(", tensor->dim[i]);
    if (at < size) snprintf(text + at, size - at, "%s", tensor->rank ? ")" : "()");
    return text;
}

static float f32_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Exact: every f16 is an f32. Subnormals are m * 2^-24; NaN keeps its payload and sign. */
static float f32_of_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, m = half & 1023;
    if (exponent == 31) return f32_of_bits(sign | 0x7f800000 | m << 13);
    if (exponent > 0) return f32_of_bits(sign | (exponent + 112) << 23 | m << 13);
    float magnitude = (float)m * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

bool rt_tensor_to_f32(const rt_tensor *tensor, float *out, rt_error *error) {
    int64_t count = rt_tensor_elements(tensor);
    const char *from = tensor->data;
    switch (tensor->dtype) {
    case RT_F32:
        if (count > 0) memcpy(out, from, (size_t)count * sizeof *out);
        return true;
    case RT_F16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, from + 2 * i, sizeof half);
            out[i] = f32_of_f16(half);
        }
        return true;
    case RT_BF16:
        for (int64_t i = 0; i < count; i++) {
            uint16_t upper;
            memcpy(&upper, from + 2 * i, sizeof upper);
            out[i] = f32_of_bits((uint32_t)upper << 16);
        }
        return true;
    case RT_F64:
        for (int64_t i = 0; i < count; i++) {
            double value;
            memcpy(&value, from + 8 * i, sizeof value);
            out[i] = (float)value;
        }
        return true;
    case RT_I64:
    case RT_I32:
    case RT_I16:
    case RT_I8:
    case RT_U8:
    case RT_BOOL:
    case RT_U16:
    case RT_U32:
    case RT_U64: break;
    }
    return rt_fail(error, "tensor '%.200s' has dtype %s; expected F32, F16, BF16 or F64",
                   tensor->name, rt_dtype_name(tensor->dtype));
}

/* One element of a type of whole numbers; false if it does not fit. */
static bool whole_number(rt_dtype dtype, const char *from, int64_t *value) {
    union {
        int64_t i64;
        int32_t i32;
        int16_t i16;
        int8_t i8;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } as;
    memcpy(&as, from, (size_t)dtypes[dtype].bytes);
    switch (dtype) {
    case RT_I64: *value = as.i64; return true;
    case RT_I32: *value = as.i32; return true;
    case RT_I16: *value = as.i16; return true;
    case RT_I8: *value = as.i8; return true;
    case RT_U8: *value = as.u8; return true;
    case RT_U16: *value = as.u16; return true;
    case RT_U32: *value = as.u32; return true;
    case RT_U64: *value = (int64_t)as.u64; return as.u64 <= INT64_MAX;
    case RT_F32:
    case RT_F16:
    case RT_BF16:
    case RT_F64:
    case RT_BOOL: break;
    }
    return false;
}

static bool is_whole(rt_dtype dtype) {
    return dtype != RT_F32 && dtype != RT_F16 && dtype != RT_BF16 && dtype != RT_F64 &&
           dtype != RT_BOOL;
}

bool rt_tensor_to_i64(const rt_tensor *tensor, int64_t *out, rt_error *error) {
    if (!is_whole(tensor->dtype))
        return rt_fail(error, "tensor '%.200s' has dtype %s; expected one of whole numbers, as I64",
                       tensor->name, rt_dtype_name(tensor->dtype));
    int64_t count = rt_tensor_elements(tensor);
    const char *from = tensor->data;
    for (int64_t i = 0; i < count; i++)
        if (!whole_number(tensor->dtype, from + i * dtypes[tensor->dtype].bytes, &out[i]))
            return rt_fail(error,
                           "tensor '%.200s': element %" PRId64 " is %" PRIu64
                           "; expected at most %" PRId64,
                           tensor->name, i, (uint64_t)out[i], INT64_MAX);
    return true;
}
