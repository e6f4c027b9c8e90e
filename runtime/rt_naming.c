/* Maps of names at work: patterns against names, and tensors from one side to the other. */
#define _GNU_SOURCE
#include "rt_naming_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *rt_naming_source(const rt_naming *naming) {
    const char *slash = strrchr(naming->source, '/');
    return slash ? slash + 1 : naming->source;
}

const char *rt_naming_target(const rt_naming *naming) {
    return naming->target;
}

size_t rt_naming_count(const rt_naming *naming) {
    return naming->rule_count;
}

const char *rt_naming_here(const rt_naming *naming, size_t rule) {
    const char *here = naming->rules[rule].here;
    return here + (*here == '~');
}

const char *rt_naming_in_cnx(const rt_naming *naming, size_t rule) {
    return naming->rules[rule].cnx;
}

/* --- patterns --- */

/* The numbers of a name, in order of the stars. */
typedef struct stars {
    struct {
        const char *text;
        int length;
    } star[RT_NAMING_STARS];
    int count;
    const char *prefix; /* that stood before them */
} stars;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Digits without zeros in front of others; 0 if there is none. */
static int number_length(const char *text) {
    int length = 0;
    while (is_digit(text[length]) && length < 16)
        length++;
    return length > 1 && *text == '0' ? 0 : length;
}

static bool match(const char *pattern, const char *name, stars *numbers) {
    numbers->count = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            if (*pattern != *name++) return false;
            continue;
        }
        int length = number_length(name);
        if (length == 0) return false;
        numbers->star[numbers->count].text = name;
        numbers->star[numbers->count++].length = length;
        name += length;
    }
    return *name == 0;
}

/* With any of the prefixes, or none. */
static bool match_here(const rt_naming *n, const char *pattern, const char *name, stars *numbers) {
    numbers->prefix = "";
    if (*pattern != '~') return match(pattern, name, numbers);
    if (match(pattern + 1, name, numbers)) return true;
    for (size_t i = 0; i < n->prefix_count; i++) {
        numbers->prefix = n->prefixes[i].word[0];
        size_t length = strlen(numbers->prefix);
        if (length && strncmp(name, numbers->prefix, length) == 0 &&
            match(pattern + 1, name + length, numbers))
            return true;
    }
    return false;
}

static const rt_naming_rule *find_here(const rt_naming *n, const char *name, stars *numbers) {
    for (size_t i = 0; i < n->rule_count; i++)
        if (match_here(n, n->rules[i].here, name, numbers)) return &n->rules[i];
    return NULL;
}

static const rt_naming_rule *find_in_cnx(const rt_naming *n, const char *name, stars *numbers) {
    for (size_t i = 0; i < n->rule_count; i++)
        if (match(n->rules[i].cnx, name, numbers)) return &n->rules[i];
    return NULL;
}

/* The pattern with numbers in it; free(). NULL if out of memory. */
static char *fill_in(const char *prefix, const char *pattern, const stars *numbers) {
    size_t length = strlen(prefix) + strlen(pattern) + 1, at = 0;
    for (int i = 0; i < numbers->count; i++)
        length += (size_t)numbers->star[i].length;
    char *name = malloc(length);
    int next = 0;
    if (!name) return NULL;
    if (*pattern == '~') {
        at = strlen(prefix);
        memcpy(name, prefix, at);
        pattern++;
    }
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            name[at++] = *pattern;
            continue;
        }
        memcpy(name + at, numbers->star[next].text, (size_t)numbers->star[next].length);
        at += (size_t)numbers->star[next++].length;
    }
    name[at] = 0;
    return name;
}

/* --- one tensor --- */

void rt_named_free(rt_named *named) {
    free(named->name);
    free(named->copy);
    *named = (rt_named){0};
}

/* `name` becomes the result's. */
static bool rename_tensor(const rt_axes_change *change, const rt_tensor *from, char *name,
                          rt_named *to, rt_error *error) {
    *to = (rt_named){.from = from, .known = true, .name = name};
    bool good = name ? rt_axes_apply(change, from, &to->tensor, &to->copy, error)
                     : rt_fail(error, "out of memory");
    to->tensor.name = name;
    if (!good) rt_named_free(to);
    return good;
}

bool rt_naming_read(const rt_naming *naming, const rt_tensor *from, rt_named *to, rt_error *error) {
    stars numbers;
    const rt_naming_rule *rule = find_here(naming, from->name, &numbers);
    if (!rule) {
        *to = (rt_named){.tensor = *from, .from = from};
        return true;
    }
    rt_axes_change change = {.from = &rule->here_axes, .to = &rule->cnx_axes};
    return rename_tensor(&change, from, fill_in("", rule->cnx, &numbers), to, error);
}

bool rt_naming_write(const rt_naming *naming, const rt_naming_style *style, const rt_tensor *cnx,
                     rt_named *to, rt_error *error) {
    stars numbers;
    const rt_naming_rule *rule = find_in_cnx(naming, cnx->name, &numbers);
    if (!rule) {
        *to = (rt_named){.tensor = *cnx, .from = cnx};
        return true;
    }
    rt_axes_change change = {
        .from = &rule->cnx_axes, .to = &rule->here_axes, .optional = style->optional};
    return rename_tensor(&change, cnx, fill_in(style->prefix, rule->here, &numbers), to, error);
}

/* --- a whole file --- */

static const rt_tensor *find_named(const rt_named *cnx, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(cnx[i].tensor.name, name) == 0) return &cnx[i].tensor;
    return NULL;
}

/* Whether the file has all of words[first...]. */
static bool has_all(const rt_naming_words *words, size_t first, const rt_named *cnx, size_t count) {
    for (size_t i = first; i < words->count; i++)
        if (!find_named(cnx, count, words->word[i])) return false;
    return true;
}

bool rt_naming_has_prefixes(const rt_naming *naming) {
    return naming->prefix_count > 0;
}

bool rt_naming_has_conv(const rt_naming *naming) {
    return naming->conv.count > 0;
}

const char *rt_naming_prefix(const rt_naming *naming, const char *text) {
    for (size_t i = 0; i < naming->prefix_count; i++)
        if (strcmp(naming->prefixes[i].word[0], text) == 0) return naming->prefixes[i].word[0];
    return NULL;
}

static bool has_optional(const rt_axes *axes) {
    bool found = false;
    for (int d = 0; d < axes->rank; d++)
        found |= axes->dim[d].optional;
    return found;
}

rt_naming_style rt_naming_style_of(const rt_naming *naming, const rt_tensors *file) {
    rt_naming_style style = {.prefix = NULL};
    bool told = false;
    for (size_t i = 0; i < rt_tensors_count(file); i++) {
        const rt_tensor *t = rt_tensors_at(file, i);
        stars numbers;
        const rt_naming_rule *rule = find_here(naming, t->name, &numbers);
        if (!rule) continue;
        if (!style.prefix && *rule->here == '~') style.prefix = numbers.prefix;
        if (told || !has_optional(&rule->here_axes)) continue;
        style.optional = t->rank == rule->here_axes.rank;
        told = true;
    }
    if (!style.prefix) style.prefix = "";
    return style;
}

rt_naming_style rt_naming_style_for(const rt_naming *naming, const rt_named *cnx, size_t count) {
    rt_naming_style style = {.prefix = ""};
    for (size_t i = 0; i < naming->prefix_count; i++)
        if (has_all(&naming->prefixes[i], 1, cnx, count)) {
            style.prefix = naming->prefixes[i].word[0];
            break;
        }
    const rt_tensor *deciding =
        naming->conv.count ? find_named(cnx, count, naming->conv.word[0]) : NULL;
    for (size_t i = 1; deciding && deciding->rank > 0 && i < naming->conv.count; i++)
        style.optional |= strtoll(naming->conv.word[i], NULL, 10) == deciding->dim[0];
    return style;
}

const rt_naming *rt_namings_for(const rt_namings *namings, const char *target, const rt_named *cnx,
                                size_t count) {
    const rt_naming *best = NULL;
    for (size_t i = 0; i < namings->count; i++) {
        const rt_naming *n = namings->item[i];
        if (strcmp(n->target, target) != 0 || !has_all(&n->needs, 0, cnx, count)) continue;
        if (!best || n->needs.count > best->needs.count) best = n;
    }
    return best;
}

/* --- which map a file is in --- */

size_t rt_naming_fitting(const rt_naming *naming, const rt_tensors *file, const rt_wanted *wanted) {
    size_t fitting = 0;
    for (size_t i = 0; i < rt_tensors_count(file); i++) {
        stars numbers;
        const rt_naming_rule *rule = find_here(naming, rt_tensors_at(file, i)->name, &numbers);
        if (!rule) continue;
        char *name = wanted ? fill_in("", rule->cnx, &numbers) : NULL;
        fitting += !wanted || (name && wanted->is(wanted->context, name));
        free(name);
    }
    return fitting;
}

/* Whether both maps know the same names of the file, by the same names of cnx. */
static bool agree(const rt_naming *a, const rt_naming *b, const rt_tensors *file, const char **at) {
    bool same = true;
    for (size_t i = 0; same && i < rt_tensors_count(file); i++) {
        stars of_a, of_b;
        *at = rt_tensors_at(file, i)->name;
        const rt_naming_rule *x = find_here(a, *at, &of_a), *y = find_here(b, *at, &of_b);
        char *in_a = x ? fill_in("", x->cnx, &of_a) : NULL;
        char *in_b = y ? fill_in("", y->cnx, &of_b) : NULL;
        same = in_a && in_b ? strcmp(in_a, in_b) == 0 : !in_a && !in_b;
        free(in_a);
        free(in_b);
    }
    return same;
}

bool rt_namings_choose(const rt_namings *namings, const rt_tensors *file, const rt_wanted *wanted,
                       const rt_naming **naming, rt_error *error) {
    size_t most = 0;
    *naming = NULL;
    for (size_t i = 0; i < namings->count; i++) {
        size_t fitting = rt_naming_fitting(namings->item[i], file, wanted);
        if (fitting > most) *naming = namings->item[i];
        if (fitting > most) most = fitting;
    }
    const char *at = "";
    for (size_t i = 0; *naming && i < namings->count; i++)
        if (rt_naming_fitting(namings->item[i], file, wanted) == most &&
            !agree(*naming, namings->item[i], file, &at))
            return rt_fail(error, "'%.200s' is a name in both '%.200s' and '%.200s'", at,
                           rt_naming_source(*naming), rt_naming_source(namings->item[i]));
    return true;
}
