#define _GNU_SOURCE /* the strerror_r that returns the words */
/* Error texts and overflow-checked sizes. */
#include "rt_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Through a copy, because the arguments may point into the text that is replaced. */
static void set_text(rt_error *error, const char *format, va_list arguments, const char *rest) {
    char text[sizeof error->text];
    int length = vsnprintf(text, sizeof text, format, arguments);
    if (length < 0) length = 0;
    if ((size_t)length < sizeof text && rest)
        snprintf(text + length, sizeof text - (size_t)length, ": %s", rest);
    memcpy(error->text, text, sizeof text);
}

bool rt_fail(rt_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    set_text(error, format, arguments, NULL);
    va_end(arguments);
    return false;
}

bool rt_fail_errno(rt_error *error, const char *format, ...) {
    char words[128], *reason = strerror_r(errno, words, sizeof words);
    va_list arguments;
    va_start(arguments, format);
    set_text(error, format, arguments, reason);
    va_end(arguments);
    return false;
}

bool rt_fail_in(rt_error *error, const char *format, ...) {
    char old[sizeof error->text];
    memcpy(old, error->text, sizeof old);
    va_list arguments;
    va_start(arguments, format);
    set_text(error, format, arguments, old);
    va_end(arguments);
    return false;
}

bool rt_multiply(int64_t a, int64_t b, int64_t *product) {
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, product);
}

bool rt_add(int64_t a, int64_t b, int64_t *sum) {
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, sum);
}
