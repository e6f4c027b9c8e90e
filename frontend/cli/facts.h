/* What goes with a model besides its tensors: how an image becomes its input, and what its classes
 * are called. The .cnx file says it in `meta` statements; a weights file carries it along in its
 * metadata, which counts more, so that a trained file is all that `predict` needs.
 */
#ifndef FACTS_H
#define FACTS_H

#include "rt_loader.h"
#include "weights.h"

typedef struct cli_facts {
    const char *model;
    int channels, size; /* of the input `image` (N,channels,size,size) */
    int64_t classes;    /* width of the output `logits`; 0: an autoencoder */
    float mean[RT_MAX_CHANNELS], std[RT_MAX_CHANNELS];
    double crop_pct;                /* of evaluation */
    bool squash;                    /* evaluation takes the whole image, whatever its shape */
    const char *const *class_names; /* `classes` of them, or NULL */
} cli_facts;

/* Of a program with the input `image` and no input that the command does not give; unless the
 * command is about autoencoders, with the output `logits`. Returns an exit code. */
int cli_facts_of(cli *c, const cli_program *p, cli_facts *facts);
/* What the metadata of a weights file says instead, unless the user says it (-D mean, std,
 * crop_pct, squash, class_names); how images are cropped only if it was made for this size. Returns
 * an exit code. */
int cli_facts_update(cli *c, const char *path, const rt_tensors *file, cli_facts *facts);
/* Names for people: those in the file `path` (a name a line, or a JSON list), if one is given; else
 * what the facts have already; else ImageNet's if there are 1000 classes. Returns an exit code. */
int cli_facts_names(cli *c, const char *path, cli_facts *facts);
/* The metadata that a weights file gets, *count of them. */
rt_pair *cli_facts_pairs(cli *c, const cli_facts *facts, size_t *count);
/* An image file as the model takes it, 8 bits a channel, (size, size, channels). */
bool cli_facts_image(const cli_facts *facts, const char *path, rt_image *out, rt_error *error);
/* Options of a loader of evaluation or training images, without augmentation. */
rt_loader_options cli_facts_loader(const cli_facts *facts, int64_t batch, int64_t threads);
/* Tells what of a data set is passed over. */
void cli_note_data(cli *c, const rt_data *data);
/* The data set has, if any are needed, as many classes as the model, and none of them stands where
 * the model has another one of its names; returns an exit code. */
int cli_facts_check_classes(cli *c, const cli_facts *facts, const rt_data *data);

#endif
