/* What a map of names is in memory; inside of rt_naming*.c only. */
#ifndef RT_NAMING_PARTS_H
#define RT_NAMING_PARTS_H

#include "rt_axes.h"
#include "rt_naming.h"

enum { RT_NAMING_STARS = 4, RT_NAMING_RULES = 256, RT_NAMING_PREFIXES = 8, RT_NAMING_WORDS = 16 };

typedef struct rt_naming_rule {
    const char *cnx, *here;
    rt_axes cnx_axes, here_axes;
} rt_naming_rule;

/* The words of a line; they point into the map's text. */
typedef struct rt_naming_words {
    const char *word[RT_NAMING_WORDS];
    size_t count;
} rt_naming_words;

struct rt_naming {
    char *text, *source;
    const char *target;
    rt_naming_rule rules[RT_NAMING_RULES];
    size_t rule_count;
    rt_naming_words prefixes[RT_NAMING_PREFIXES]; /* the prefix, then the tensors it needs */
    size_t prefix_count;
    rt_naming_words needs, conv; /* tensors; a tensor and widths */
};

#endif
