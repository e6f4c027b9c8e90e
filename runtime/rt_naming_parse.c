/* Maps of names: from text, one file or a directory of them. */
#define _GNU_SOURCE
#include "rt_naming_parts.h"

#include "rt_file.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20 };

/* --- lines --- */

/* Cuts the next line off *text and splits it; a comment is no word. False at the end. */
static bool next_line(char **text, rt_naming_words *words, bool *too_many) {
    static const char blanks[] = " \t\r";
    if (!*text) return false;
    char *line = strsep(text, "\n"), *save = NULL;
    line[strcspn(line, "#")] = 0;
    words->count = 0;
    *too_many = false;
    for (char *w = strtok_r(line, blanks, &save); w; w = strtok_r(NULL, blanks, &save)) {
        *too_many = words->count == RT_NAMING_WORDS;
        if (*too_many) break;
        words->word[words->count++] = w;
    }
    return true;
}

static int stars_of(const char *pattern) {
    int count = 0;
    for (; *pattern; pattern++)
        count += *pattern == '*';
    return count;
}

/* A name in which '~' may begin and each '*' stands between other letters. */
static bool check_pattern(const char *pattern, rt_error *error) {
    const char *name = pattern + (*pattern == '~');
    bool good = *name && !strchr(name, '~') && !strstr(name, "**");
    for (const char *s = strchr(name, '*'); good && s; s = strchr(s + 1, '*')) {
        bool digit_before = s > name && s[-1] >= '0' && s[-1] <= '9';
        good = !digit_before && !(s[1] >= '0' && s[1] <= '9');
    }
    if (!good) return rt_fail(error, "'%.100s' is no pattern of names", pattern);
    if (stars_of(pattern) > RT_NAMING_STARS)
        return rt_fail(error, "'%.100s' has more than %d numbers", pattern, RT_NAMING_STARS);
    return true;
}

static bool add_rule(rt_naming *n, const rt_naming_words *w, rt_error *error) {
    if (w->count != 4)
        return rt_fail(error, "'%.100s' has %zu words; expected name in cnx, name, axes, axes",
                       w->word[0], w->count);
    if (n->rule_count == RT_NAMING_RULES)
        return rt_fail(error, "more than %d rules", RT_NAMING_RULES);
    rt_naming_rule *rule = &n->rules[n->rule_count];
    rule->cnx = w->word[0];
    rule->here = strcmp(w->word[1], "=") == 0 ? w->word[0] : w->word[1];
    const char *here_axes = strcmp(w->word[3], "=") == 0 ? w->word[2] : w->word[3];
    if (!check_pattern(rule->cnx, error) || !check_pattern(rule->here, error) ||
        !rt_axes_parse(w->word[2], &rule->cnx_axes, error) ||
        !rt_axes_parse(here_axes, &rule->here_axes, error))
        return false;
    if (*rule->cnx == '~') return rt_fail(error, "names in cnx have no prefix");
    if (stars_of(rule->cnx) != stars_of(rule->here))
        return rt_fail(error, "'%.100s' and '%.100s' have unequal numbers", rule->cnx, rule->here);
    if (!rt_axes_same_letters(&rule->cnx_axes, &rule->here_axes))
        return rt_fail(error, "'%.50s' and '%.50s' are not the same axes", w->word[2], here_axes);
    for (size_t i = 0; i < n->rule_count; i++)
        if (strcmp(n->rules[i].cnx, rule->cnx) == 0 || strcmp(n->rules[i].here, rule->here) == 0)
            return rt_fail(error, "'%.100s' or '%.100s' has a rule already", rule->cnx, rule->here);
    n->rule_count++;
    return true;
}

static bool add_prefix(rt_naming *n, const rt_naming_words *w, rt_error *error) {
    if (w->count < 2) return rt_fail(error, "prefix needs one, or -");
    if (n->prefix_count == RT_NAMING_PREFIXES)
        return rt_fail(error, "more than %d prefixes", RT_NAMING_PREFIXES);
    rt_naming_words *p = &n->prefixes[n->prefix_count++];
    p->count = w->count - 1;
    memcpy(p->word, w->word + 1, p->count * sizeof *p->word);
    if (strcmp(p->word[0], "-") == 0) p->word[0] = "";
    return true;
}

/* What follows the first word of a line that may stand once. */
static bool set_once(rt_naming_words *words, const rt_naming_words *w, size_t least,
                     rt_error *error) {
    if (words->count) return rt_fail(error, "'%s' stands twice", w->word[0]);
    if (w->count <= least)
        return rt_fail(error, "'%s' needs %zu word%s", w->word[0], least, least == 1 ? "" : "s");
    words->count = w->count - 1;
    memcpy(words->word, w->word + 1, words->count * sizeof *words->word);
    return true;
}

static bool take_line(rt_naming *n, const rt_naming_words *w, rt_error *error) {
    if (w->count == 0) return true;
    if (strcmp(w->word[0], "prefix") == 0) return add_prefix(n, w, error);
    if (strcmp(w->word[0], "needs") == 0) return set_once(&n->needs, w, 1, error);
    if (strcmp(w->word[0], "conv") == 0) return set_once(&n->conv, w, 2, error);
    if (strcmp(w->word[0], "naming") != 0) return add_rule(n, w, error);
    if (w->count != 2 || n->target) return rt_fail(error, "naming needs one name, once");
    n->target = w->word[1];
    return true;
}

static bool take_text(rt_naming *n, char *text, rt_error *error) {
    rt_naming_words words;
    bool too_many;
    for (int line = 1; next_line(&text, &words, &too_many); line++) {
        bool good = too_many ? rt_fail(error, "more than %d words", RT_NAMING_WORDS)
                             : take_line(n, &words, error);
        if (!good) return rt_fail_in(error, "line %d", line);
    }
    if (!n->target) return rt_fail(error, "no line 'naming NAME'");
    return true;
}

rt_naming *rt_naming_parse(const char *source, const char *text, size_t size, rt_error *error) {
    rt_naming *n = calloc(1, sizeof *n);
    bool good = n && (n->text = strndup(text, size)) && (n->source = strdup(source));
    good = good ? take_text(n, n->text, error) : rt_fail(error, "out of memory");
    if (good) return n;
    rt_naming_free(n);
    rt_fail_in(error, "%.400s", source);
    return NULL;
}

void rt_naming_free(rt_naming *naming) {
    if (!naming) return;
    free(naming->text);
    free(naming->source);
    free(naming);
}

/* --- a directory --- */

static bool open_one(rt_namings *maps, const char *path, rt_error *error) {
    uint8_t *bytes;
    size_t size;
    if (!rt_file_read(path, MOST_BYTES, &bytes, &size, error)) return false;
    rt_naming *naming = rt_naming_parse(path, (const char *)bytes, size, error);
    free(bytes);
    if (naming) maps->item[maps->count++] = naming;
    return naming;
}

rt_namings *rt_namings_open(const char *directory, rt_error *error) {
    glob_t found = {0};
    char *pattern = NULL;
    rt_namings *maps = calloc(1, sizeof *maps);
    bool good = maps && asprintf(&pattern, "%s/*.map", directory) > 0;
    int code = good ? glob(pattern, 0, NULL, &found) : GLOB_NOSPACE;
    good = code == 0 && (maps->item = calloc(found.gl_pathc, sizeof(rt_naming *)));
    if (!good && code == GLOB_NOMATCH)
        rt_fail(error, "no naming maps (*.map) in '%s'", directory);
    else if (!good)
        rt_fail(error, "cannot read '%s'", directory);
    for (size_t i = 0; good && i < found.gl_pathc; i++)
        good = open_one(maps, found.gl_pathv[i], error);
    globfree(&found);
    free(pattern);
    if (good) return maps;
    rt_namings_free(maps);
    return NULL;
}

void rt_namings_free(rt_namings *namings) {
    if (!namings) return;
    for (size_t i = 0; i < namings->count; i++)
        rt_naming_free(namings->item[i]);
    free(namings->item);
    free(namings);
}
