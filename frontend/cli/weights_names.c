/* Formats and names of files of weights. */
#include "weights.h"

#include "rt_torch.h"

#include <string.h>

rt_tensors *cli_open_tensors(const char *path, rt_error *error) {
    return rt_torch_detect(path) ? rt_torch_open(path, error) : rt_tensors_open(path, error);
}

const char *cli_find_namings(cli *c) {
    const char *const *directories = cli_model_directories(c->arena);
    for (; *directories; directories++)
        if (cli_exists(ir_arena_printf(c->arena, "%s/timm.map", *directories))) break;
    return *directories;
}

rt_namings *cli_open_namings(cli *c, rt_error *error) {
    const char *directory = cli_find_namings(c);
    if (directory) return rt_namings_open(directory, error);
    rt_fail(error, "no directory of models next to cnxc, where the maps of names should stand");
    return NULL;
}

/* The name with its numbers as patterns have them. */
static const char *with_stars(ir_arena *arena, const char *name) {
    char *pattern = ir_arena_strndup(arena, name, strlen(name)), *to = pattern;
    for (const char *from = pattern; *from;) {
        bool digit = *from >= '0' && *from <= '9';
        *to++ = digit ? '*' : *from;
        from++;
        while (digit && *from >= '0' && *from <= '9')
            from++;
    }
    *to = 0;
    return pattern;
}

/* Names and patterns are compared with a star for every number, fixed ones too. */
const char *cli_nearest_rule(cli *c, const rt_naming *naming, const char *name, bool in_cnx) {
    size_t count = rt_naming_count(naming);
    const char **patterns = ir_arena_alloc(c->arena, (count + 1) * sizeof *patterns);
    for (size_t i = 0; i < count; i++)
        patterns[i] =
            with_stars(c->arena, in_cnx ? rt_naming_in_cnx(naming, i) : rt_naming_here(naming, i));
    const char *near = ir_nearest(with_stars(c->arena, name), patterns, count);
    for (size_t i = 0; near && i < count; i++)
        if (patterns[i] == near)
            return in_cnx ? rt_naming_in_cnx(naming, i) : rt_naming_here(naming, i);
    return NULL;
}
