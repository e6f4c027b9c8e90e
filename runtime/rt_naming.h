/* The names other libraries have for the same tensors, as data.
 *
 * cnx calls its parameters as timm does. Everything else is a map, one file of models/ for each:
 *
 *     naming official
 *     prefix -
 *     # in cnx                           here                        axes       axes here
 *     stages.*.blocks.*.mlp.grn.weight   stages.*.*.grn.gamma        c          1,1,1,c
 *     stages.*.downsample.1.weight       downsample_layers.*.1.weight o,i,y,x   =
 *
 * A rule is a name in cnx, the name here ("=": the same), the axes in cnx, the axes here
 * (rt_axes.h;
 * "=": the same). '*' is a number, the first on one side the first on the other. Other lines:
 *
 *     naming NAME        what `--to` calls it; several maps may serve one NAME
 *     needs TENSOR...    writing: this map is the one if the file has these (names of cnx)
 *     prefix P TENSOR... '~' at the start of a name is one of the prefixes, or nothing. Writing
 * takes the first whose tensors the file has; '-' is the empty one conv TENSOR N...   writing:
 * dimensions '?' are there if the first one of TENSOR is one of N
 *
 * Renaming moves no element but where an order differs, and converts none: what goes through two
 * maps and back has the same bytes.
 *
 *     rt_namings *maps = rt_namings_open("models", &error);
 *     rt_namings_choose(maps, file, NULL, &naming, &error);
 *     rt_naming_read(naming, rt_tensors_at(file, 0), &named, &error);
 *     ... named.tensor has cnx's name and shape ...
 *     rt_named_free(&named);
 */
#ifndef RT_NAMING_H
#define RT_NAMING_H

#include "rt_safetensors.h"

typedef struct rt_naming rt_naming;

/* One map. `source` stands in messages. */
rt_naming *rt_naming_parse(const char *source, const char *text, size_t size, rt_error *error);
void rt_naming_free(rt_naming *naming);
const char *rt_naming_source(const rt_naming *naming); /* its file, without the directory */
const char *rt_naming_target(const rt_naming *naming); /* its NAME */
size_t rt_naming_count(const rt_naming *naming);
/* The pattern of a rule, here or in cnx, for messages. */
const char *rt_naming_here(const rt_naming *naming, size_t rule);
const char *rt_naming_in_cnx(const rt_naming *naming, size_t rule);

/* All maps of a directory (*.map), in order of their file names. */
typedef struct rt_namings {
    rt_naming **item;
    size_t count;
} rt_namings;

rt_namings *rt_namings_open(const char *directory, rt_error *error);
void rt_namings_free(rt_namings *namings);

/* A tensor under another name. */
typedef struct rt_named {
    rt_tensor tensor;
    const rt_tensor *from; /* as it was */
    bool known;            /* a rule was found; else the tensor is as it was */
    char *name;            /* owned, as are data in another order */
    void *copy;
} rt_named;

void rt_named_free(rt_named *named);

/* From here to cnx; false for a shape that the rule does not know, or without memory. */
bool rt_naming_read(const rt_naming *naming, const rt_tensor *from, rt_named *to, rt_error *error);

/* Which of several ways of writing fits to a file. */
typedef struct rt_naming_style {
    const char *prefix;
    bool optional; /* dimensions '?' are written */
} rt_naming_style;

/* The style a file is written in, by its first tensor that tells. */
rt_naming_style rt_naming_style_of(const rt_naming *naming, const rt_tensors *file);
bool rt_naming_has_prefixes(const rt_naming *naming);
bool rt_naming_has_conv(const rt_naming *naming); /* dimensions '?' */
/* The prefix of the map that is this text, or NULL. */
const char *rt_naming_prefix(const rt_naming *naming, const char *text);
/* The style of the library itself; `cnx` are the file's tensors by cnx's names. */
rt_naming_style rt_naming_style_for(const rt_naming *naming, const rt_named *cnx, size_t count);
/* The map that writes `target` for such a file: of those whose needs are met the one with most.
 * NULL if no map has this name. */
const rt_naming *rt_namings_for(const rt_namings *namings, const char *target, const rt_named *cnx,
                                size_t count);
/* From cnx to here. */
bool rt_naming_write(const rt_naming *naming, const rt_naming_style *style, const rt_tensor *cnx,
                     rt_named *to, rt_error *error);

/* Which names of cnx count; NULL: every one that a rule makes. */
typedef struct rt_wanted {
    bool (*is)(const void *context, const char *cnx_name);
    const void *context;
} rt_wanted;

/* How many of the file's tensors become wanted ones. */
size_t rt_naming_fitting(const rt_naming *naming, const rt_tensors *file, const rt_wanted *wanted);
/* The map under which most of them do, by their names alone; *naming is NULL if none does under
 * any. False if two maps do equally well but disagree about a name. */
bool rt_namings_choose(const rt_namings *namings, const rt_tensors *file, const rt_wanted *wanted,
                       const rt_naming **naming, rt_error *error);

#endif
