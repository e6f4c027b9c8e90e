/* Limits of control groups, read from their files. */
#include "rt_cgroup.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One hierarchy: version 1 has one for each controller, version 2 one for all. */
typedef struct hierarchy {
    bool unified;
    char mount[PATH_MAX]; /* where it is mounted, below `root` */
    char group[PATH_MAX]; /* the process's group, below the mount point; "" for the mount itself */
} hierarchy;

/* Whether `word` is one of the items of a comma-separated list. */
static bool list_has(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *item = list; item; item = strchr(item, ',')) {
        item += *item == ',';
        if (strncmp(item, word, length) == 0 && (item[length] == ',' || item[length] == 0))
            return true;
    }
    return false;
}

static FILE *open_file(const char *root, const char *path) {
    char full[2 * PATH_MAX];
    snprintf(full, sizeof full, "%s%s", root, path);
    return fopen(full, "r");
}

/* A line of mountinfo: "id parent dev ROOT POINT options... - TYPE source SUPEROPTIONS". */
static bool find_mount(const char *root, const char *controller, bool unified, char *inside,
                       char *point) {
    FILE *file = open_file(root, "/proc/self/mountinfo");
    if (!file) return false;
    char line[3 * PATH_MAX], type[64], options[1024];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %*s %4095s %4095s", inside, point) != 2) continue;
        if (sscanf(tail, " - %63s %*s %1023s", type, options) != 2) continue;
        found = unified ? strcmp(type, "cgroup2") == 0
                        : strcmp(type, "cgroup") == 0 && list_has(options, controller);
    }
    fclose(file);
    return found;
}

/* The process's group: lines "number:controllers:path", version 2 with number 0, no controllers. */
static bool find_group(const char *root, const char *controller, bool unified, char *path) {
    FILE *file = open_file(root, "/proc/self/cgroup");
    if (!file) return false;
    char line[2 * PATH_MAX];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group || strlen(group + 1) >= PATH_MAX) continue;
        *controllers++ = 0;
        *group++ = 0;
        found = unified ? strcmp(line, "0") == 0 && *controllers == 0
                        : list_has(controllers, controller);
        if (found) strcpy(path, group);
    }
    fclose(file);
    return found;
}

static bool find_hierarchy(const char *root, const char *controller, bool unified, hierarchy *out) {
    char inside[PATH_MAX], group[PATH_MAX];
    out->unified = unified;
    if (!find_mount(root, controller, unified, inside, out->mount)) return false;
    if (!find_group(root, controller, unified, group)) return false;
    size_t length = strcmp(inside, "/") == 0 ? 0 : strlen(inside);
    bool below = strncmp(group, inside, length) == 0 && group[length] == '/';
    bool hidden = strncmp(group, "/..", 3) == 0;
    snprintf(out->group, sizeof out->group, "%s", below && !hidden ? group + length : "");
    if (strcmp(out->group, "/") == 0) out->group[0] = 0;
    return true;
}

static FILE *open_in(const char *root, const hierarchy *h, const char *name) {
    char path[3 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s%s/%s", root, h->mount, h->group, name);
    return fopen(path, "r");
}

/* The number in a file; false without one, such as "max". */
static bool read_number(const char *root, const hierarchy *h, const char *name, int64_t *value) {
    FILE *file = open_in(root, h, name);
    bool good = file && fscanf(file, "%" SCNd64, value) == 1;
    if (file) fclose(file);
    return good;
}

/* Bytes of file cache in the group that the system drops before it lets an allocation fail. */
static int64_t inactive_files(const char *root, const hierarchy *h) {
    FILE *file = open_in(root, h, "memory.stat");
    char key[64];
    int64_t value, found = 0;
    const char *wanted = h->unified ? "inactive_file" : "total_inactive_file";
    while (file && fscanf(file, "%63s %" SCNd64, key, &value) == 2)
        if (strcmp(key, wanted) == 0) found = value;
    if (file) fclose(file);
    return found > 0 ? found : 0;
}

/* From the process's group to the mount point; false above it. */
static bool go_up(hierarchy *h) {
    char *slash = strrchr(h->group, '/');
    if (!slash) return false;
    *slash = 0;
    return true;
}

int64_t rt_cgroup_memory(const char *root) {
    int64_t left = INT64_MAX;
    for (int unified = 0; unified < 2; unified++) {
        hierarchy h;
        if (!find_hierarchy(root, "memory", unified, &h)) continue;
        do {
            int64_t limit, used;
            if (!read_number(root, &h, unified ? "memory.max" : "memory.limit_in_bytes", &limit) ||
                !read_number(root, &h, unified ? "memory.current" : "memory.usage_in_bytes", &used))
                continue;
            int64_t cache = inactive_files(root, &h);
            used = used > cache ? used - cache : 0;
            int64_t here = limit > used ? limit - used : 0;
            if (here < left) left = here;
        } while (go_up(&h));
    }
    return left;
}

/* quota and period in microseconds; false without a limit. */
static bool read_quota(const char *root, const hierarchy *h, int64_t *quota, int64_t *period) {
    if (!h->unified)
        return read_number(root, h, "cpu.cfs_quota_us", quota) && *quota > 0 &&
               read_number(root, h, "cpu.cfs_period_us", period) && *period > 0;
    FILE *file = open_in(root, h, "cpu.max");
    bool good = file && fscanf(file, "%" SCNd64 " %" SCNd64, quota, period) == 2;
    if (file) fclose(file);
    return good && *quota > 0 && *period > 0;
}

double rt_cgroup_cores(const char *root) {
    double least = 0;
    for (int unified = 0; unified < 2; unified++) {
        hierarchy h;
        if (!find_hierarchy(root, "cpu", unified, &h)) continue;
        do {
            int64_t quota, period;
            if (!read_quota(root, &h, &quota, &period)) continue;
            double cores = (double)quota / (double)period;
            if (least == 0 || cores < least) least = cores;
        } while (go_up(&h));
    }
    return least;
}
