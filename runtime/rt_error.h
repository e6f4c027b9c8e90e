/* Errors of the runtime: a text for the user, filled by the function that failed. Every function
 * that takes an rt_error returns false or NULL after a failure, and what it was about to make does
 * not exist then. A message says what, where, what was found and what was expected. */
#ifndef RT_ERROR_H
#define RT_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rt_error {
    char text[1024];
} rt_error;

/* Sets the text; always returns false, so that callers can `return rt_fail(...)`. */
bool rt_fail(rt_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with ": " and the words for errno at the end. */
bool rt_fail_errno(rt_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "CONTEXT: " in front of the text; returns false. */
bool rt_fail_in(rt_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* a * b and a + b of sizes that are not negative; false if the result does not fit. */
bool rt_multiply(int64_t a, int64_t b, int64_t *product);
bool rt_add(int64_t a, int64_t b, int64_t *sum);

#endif
