/* A data set with a folder per class: names are read when it is opened, images when asked for. */
#define _GNU_SOURCE
#include "rt_data_parts.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_image(const char *name) {
    static const char *const endings[] = {".png", ".jpg", ".jpeg", ".bmp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0) return true;
    return false;
}

typedef enum wanted { FOLDERS, FOLDER_PATHS, IMAGE_PATHS } wanted;

/* Adds the name of every folder, or the path of every folder or image, in `folder`; *passed_over
 * counts the rest, if it is not NULL. Names that begin with a dot are nobody's data. */
static bool list(const char *folder, wanted what, rt_texts *out, int64_t *passed_over,
                 rt_error *error) {
    DIR *dir = opendir(folder);
    if (!dir) return rt_fail_errno(error, "cannot open '%s'", folder);
    bool good = true;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno != 0) good = rt_fail_errno(error, "cannot read '%s'", folder);
            break;
        }
        if (entry->d_name[0] == '.') continue;
        char *path;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) {
            good = rt_fail(error, "'%s': out of memory", folder);
            break;
        }
        bool known = entry->d_type == DT_REG || entry->d_type == DT_DIR;
        bool directory = known ? entry->d_type == DT_DIR : is_directory(path);
        if (what == IMAGE_PATHS ? !directory && is_image(entry->d_name) : directory)
            good = rt_texts_add(out, what == FOLDERS ? entry->d_name : path) ||
                   rt_fail(error, "'%s': out of memory", folder);
        else if (passed_over)
            ++*passed_over;
        free(path);
        if (!good) break;
    }
    closedir(dir);
    return good;
}

/* The folder that holds the class folders of a part; free(), NULL if there is none. */
static char *find_part(const char *directory, rt_part part) {
    static const char *const places[2][3] = {[RT_TRAIN] = {"train"}, [RT_TEST] = {"val", "test"}};
    char *path;
    for (int i = 0; places[part][i]; i++) {
        if (asprintf(&path, "%s/%s", directory, places[part][i]) < 0) return NULL;
        if (is_directory(path)) return path;
        free(path);
    }
    if (part == RT_TEST) return NULL;
    /* DIR/CLASS/IMAGE alone, unless the folders in DIR are parts. */
    char *test = find_part(directory, RT_TEST);
    bool flat = !test;
    free(test);
    return flat ? strdup(directory) : NULL;
}

char *rt_folder_data_part(const char *directory) {
    char *path = find_part(directory, RT_TRAIN);
    if (!path) return find_part(directory, RT_TEST);
    if (strcmp(path, directory) != 0) return path;
    free(path);
    return NULL;
}

/* A folder of class folders is one that has a folder with an image in it. */
static bool has_classes(const char *folder) {
    rt_texts classes = {0};
    rt_error ignored;
    bool found = false;
    if (list(folder, FOLDER_PATHS, &classes, NULL, &ignored))
        for (size_t i = 0; !found && i < classes.count; i++) {
            rt_texts images = {0};
            found = list(rt_texts_at(&classes, i), IMAGE_PATHS, &images, NULL, &ignored) &&
                    images.count;
            rt_texts_free(&images);
        }
    rt_texts_free(&classes);
    return found;
}

bool rt_folder_data_present(const char *directory, rt_part part) {
    char *folder = find_part(directory, part);
    bool found = folder && has_classes(folder);
    free(folder);
    return found;
}

static bool note_passed_over(rt_data *data, const char *folder, int64_t count, rt_error *error) {
    if (count == 0) return true;
    data->passed_over += count;
    if (data->passed_over_folders++ == 0) data->passed_over_first = strdup(folder);
    return data->passed_over_first || rt_fail(error, "'%s': out of memory", folder);
}

/* Adds the images of one class with its label; labels are stored once their number is known. */
static bool add_class(rt_data *data, const char *folder, int32_t label, rt_error *error) {
    rt_texts images = {0};
    int64_t passed_over = 0;
    bool good = list(folder, IMAGE_PATHS, &images, &passed_over, error);
    if (good && images.count == 0)
        good = rt_fail(error, "'%s': no images; expected files .png, .jpg, .jpeg or .bmp", folder);
    if (good && images.count > (size_t)(INT32_MAX - data->count))
        good = rt_fail(error, "'%s': more than %d images", data->directory, INT32_MAX);
    good = good && note_passed_over(data, folder, passed_over, error);
    rt_texts_sort(&images);
    if (good) {
        size_t count = (size_t)data->count + images.count;
        int32_t *more = realloc(data->label, count * sizeof *more);
        if (more) data->label = more;
        good = more || rt_fail(error, "'%s': out of memory", folder);
    }
    for (size_t i = 0; good && i < images.count; i++) {
        good = rt_texts_add(&data->paths, rt_texts_at(&images, i)) ||
               rt_fail(error, "'%s': out of memory", folder);
        data->label[data->count++] = label;
    }
    rt_texts_free(&images);
    return good;
}

/* `classes` are sorted. */
static int32_t find_class(const rt_texts *classes, const char *name) {
    size_t low = 0, high = classes->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, rt_texts_at(classes, middle));
        if (order == 0) return (int32_t)middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

/* The images of every class folder of `folder`, numbered as data->classes. */
static bool add_classes(rt_data *data, const char *folder, rt_error *error) {
    rt_texts names = {0};
    bool good = list(folder, FOLDERS, &names, NULL, error);
    rt_texts_sort(&names);
    for (size_t i = 0; good && i < names.count; i++) {
        const char *name = rt_texts_at(&names, i);
        char *path;
        int32_t label = find_class(&data->classes, name);
        if (label < 0)
            good = rt_fail(error, "'%s': class '%s' is none of the %zu of the training part",
                           folder, name, data->classes.count);
        else if (asprintf(&path, "%s/%s", folder, name) < 0)
            good = rt_fail(error, "'%s': out of memory", folder);
        else {
            good = add_class(data, path, label, error);
            free(path);
        }
    }
    rt_texts_free(&names);
    return good;
}

static bool decode(const rt_data *data, int64_t index, int channels, rt_image *image,
                   rt_error *error) {
    return rt_image_load(rt_texts_at(&data->paths, (size_t)index), channels, image, error);
}

static void name(const rt_data *data, int64_t index, char *text, size_t size) {
    snprintf(text, size, "%s", rt_texts_at(&data->paths, (size_t)index));
}

bool rt_folder_data_open(rt_data *data, rt_part part, rt_error *error) {
    static const rt_data_kind kind = {.image = decode, .name = name};
    data->kind = &kind;
    char *folder = find_part(data->directory, part);
    char *training = part == RT_TRAIN ? NULL : find_part(data->directory, RT_TRAIN);
    bool good = folder || rt_fail(error, "'%s': the folder of images is gone", data->directory);
    good = good && list(training ? training : folder, FOLDERS, &data->classes, NULL, error);
    rt_texts_sort(&data->classes);
    good = good && add_classes(data, folder, error);
    free(training);
    free(folder);
    return good;
}

/* --- images without classes --- */

static char *find_loose(const char *directory) {
    char *folder = find_part(directory, RT_TRAIN);
    return folder ? folder : strdup(directory);
}

bool rt_loose_data_present(const char *directory) {
    char *folder = find_loose(directory);
    rt_texts images = {0};
    rt_error ignored;
    bool found = folder && list(folder, IMAGE_PATHS, &images, NULL, &ignored) && images.count > 0;
    rt_texts_free(&images);
    free(folder);
    return found;
}

bool rt_loose_data_open(rt_data *data, rt_error *error) {
    static const rt_data_kind kind = {.image = decode, .name = name};
    data->kind = &kind;
    char *folder = find_loose(data->directory);
    bool good = folder && rt_texts_add(&data->classes, "");
    if (!good) rt_fail(error, "'%s': out of memory", data->directory);
    good = good && add_class(data, folder, 0, error);
    free(folder);
    return good;
}
