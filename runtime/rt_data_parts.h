/* What the two kinds of data sets share; inside of the runtime only.
 *
 * A kind fills the public facts of an rt_data (count, classes, labels) when it is opened and gives
 * two functions: decode an image, name an image. Both kinds know their classes from the training
 * part, so that the test part numbers them the same way.
 */
#ifndef RT_DATA_PARTS_H
#define RT_DATA_PARTS_H

#include "rt_data.h"
#include "rt_idx.h"

/* Texts one behind the other in one block; a text is known by where it begins. */
typedef struct rt_texts {
    char *text;
    size_t size, room;
    size_t *begin; /* of each text */
    size_t count, begin_room;
} rt_texts;

bool rt_texts_add(rt_texts *texts, const char *text); /* false: out of memory */
const char *rt_texts_at(const rt_texts *texts, size_t index);
void rt_texts_sort(rt_texts *texts); /* in byte order */
void rt_texts_free(rt_texts *texts);

typedef struct rt_data_kind {
    bool (*image)(const rt_data *data, int64_t index, int channels, rt_image *image,
                  rt_error *error);
    void (*name)(const rt_data *data, int64_t index, char *text, size_t size);
} rt_data_kind;

struct rt_data {
    const rt_data_kind *kind;
    char *directory;
    int64_t count, class_count;
    int32_t *label;           /* (count) */
    int32_t *chosen;          /* (count): the kind's numbers of the images; NULL: all of them */
    const char **class_names; /* (class_count), into `classes` */
    rt_texts classes;
    rt_idx images;  /* IDX: (count, height, width) */
    char *file;     /* IDX: the path of the images */
    rt_texts paths; /* folders: of each image */
    /* folders: what is no image, in how many class folders, and the first of these */
    int64_t passed_over, passed_over_folders;
    char *passed_over_first;
};

/* Whether DIR is of this kind and has the part. */
bool rt_idx_data_present(const char *directory, rt_part part);
bool rt_folder_data_present(const char *directory, rt_part part);
/* A folder in DIR that is taken for a part and thus for no class, whatever it holds; free(), NULL
 * if there is none. */
char *rt_folder_data_part(const char *directory);
/* Fill `data`, whose directory is set; false after an error, then rt_data_close frees what there
 * is. */
bool rt_idx_data_open(rt_data *data, rt_part part, rt_error *error);
bool rt_folder_data_open(rt_data *data, rt_part part, rt_error *error);
/* Images of the training part that stand in no class folder: all are of one class without a name.
 */
bool rt_loose_data_present(const char *directory);
bool rt_loose_data_open(rt_data *data, rt_error *error);

#endif
