/* cnxc reconstruct: what a masked autoencoder sees of images, and what it paints into the rest.
 *
 * A picture with a row per image: as the model takes it, without the removed patches, and
 * reconstructed. Visible patches are pasted, pixel for pixel; where the model predicts patches of
 * mean 0 and variance 1 (norm_pix), each gets the mean and variance of the original back. Which
 * patches are removed follows from the seed and the image's place on the command line. Small images
 * are shown larger, every pixel as a square.
 */
#include "evaluate.h"

#include "rt_random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 16, GAP = 4, LEAST_CELL = 112, COLUMNS = 3, GREY = 128, WHITE = 255 };

typedef struct reconstruct {
    cli *c;
    cli_program program;
    cli_facts facts;
    int64_t patch, grid, kept; /* pixels; patches of a line; patches that stay */
    bool norm_pix;
    int zoom;     /* picture pixels of an image pixel */
    rt_image out; /* the picture */
} reconstruct;

/* --- the model --- */

static int whole_meta(reconstruct *r, const char *key, int64_t *value) {
    const char *meta = ir_plan_meta(r->program.plan, key);
    *value = meta ? strtoll(meta, NULL, 10) : 0;
    if (*value > 0) return CLI_DONE;
    return cli_fail(r->c, CLI_USER_ERROR,
                    "'%s' has no meta %s, a whole number from 1, which 'reconstruct' needs; "
                    "models/fcmae_*.cnx have it",
                    r->program.plan->name, key);
}

/* mask (N,L) and pred (N,L,p p C) of the image's patches. */
static int check_model(reconstruct *r) {
    const cli_facts *f = &r->facts;
    int code = whole_meta(r, "patch_size", &r->patch);
    if (code == CLI_DONE) code = whole_meta(r, "kept", &r->kept);
    if (code != CLI_DONE) return code;
    const cli_io *mask = cli_program_io(&r->program, "mask");
    const cli_io *pred = cli_program_io(&r->program, "pred");
    r->grid = f->size / r->patch;
    const char *norm_pix = ir_plan_meta(r->program.plan, "norm_pix");
    r->norm_pix = norm_pix && strcmp(norm_pix, "true") == 0;
    int64_t patches = r->grid * r->grid, width = r->patch * r->patch * f->channels;
    if (mask && mask->type.rank == 2 && mask->type.dim[1] == patches && r->kept <= patches &&
        r->grid * r->patch == f->size && pred && pred->type.rank == 3 &&
        pred->type.dim[1] == patches && pred->type.dim[2] == width)
        return CLI_DONE;
    return cli_fail(r->c, CLI_USER_ERROR,
                    "'%s' has no input mask: f32[N,%lld] and output pred: f32[N,%lld,%lld], which "
                    "'reconstruct' needs",
                    r->facts.model, (long long)patches, (long long)patches, (long long)width);
}

/* --- inputs --- */

/* (patches) 1 where a patch is removed: the first `kept` of a random order stay. */
static void draw_mask(const reconstruct *r, size_t number, float *mask, int32_t *order) {
    int64_t patches = r->grid * r->grid;
    rt_place place = {.stream = RT_STREAM_MASK, .sample = (uint32_t)number};
    for (int64_t l = 0; l < patches; l++) {
        order[l] = (int32_t)l;
        mask[l] = 1;
    }
    rt_random_permutation(r->c->options->seed, place, order, patches);
    for (int64_t k = 0; k < r->kept; k++)
        mask[order[k]] = 0;
}

/* --- one patch --- */

static uint8_t *pixel_of(const reconstruct *r, rt_image *image, int64_t l, int64_t i) {
    int64_t y = l / r->grid * r->patch + i / r->patch, x = l % r->grid * r->patch + i % r->patch;
    return image->pixels + (y * image->width + x) * image->channels;
}

static double normalized(const reconstruct *r, uint8_t value, int channel) {
    return ((double)value / 255 - (double)r->facts.mean[channel]) / (double)r->facts.std[channel];
}

/* Mean and root of the unbiased variance over all values of a patch, as the target has them. */
static void statistics(const reconstruct *r, rt_image *image, int64_t l, double *mean,
                       double *spread) {
    int64_t pixels = r->patch * r->patch, count = pixels * image->channels;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < image->channels; c++)
            sum += normalized(r, pixel_of(r, image, l, i)[c], c);
    *mean = sum / (double)count;
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < image->channels; c++) {
            double off = normalized(r, pixel_of(r, image, l, i)[c], c) - *mean;
            squares += off * off;
        }
    *spread = sqrt((count > 1 ? squares / (double)(count - 1) : 0) + 1e-6);
}

static uint8_t to_byte(double value) {
    double byte = 255 * value + 0.5;
    return !(byte > 0) ? 0 : byte >= 255 ? 255 : (uint8_t)byte;
}

/* pred: (p p C), channels fastest. */
static void paint(const reconstruct *r, rt_image *image, int64_t l, const float *pred) {
    double mean = 0, spread = 1;
    if (r->norm_pix) statistics(r, image, l, &mean, &spread);
    for (int64_t i = 0; i < r->patch * r->patch; i++)
        for (int c = 0; c < image->channels; c++) {
            double value = (double)pred[i * image->channels + c] * spread + mean;
            pixel_of(r, image, l, i)[c] =
                to_byte(value * (double)r->facts.std[c] + (double)r->facts.mean[c]);
        }
}

static void blot_out(const reconstruct *r, rt_image *image, int64_t l) {
    for (int64_t i = 0; i < r->patch * r->patch; i++)
        memset(pixel_of(r, image, l, i), GREY, (size_t)image->channels);
}

/* --- the picture --- */

static int cell_of(const reconstruct *r) {
    return r->facts.size * r->zoom;
}

static int new_picture(reconstruct *r, size_t rows) {
    rt_error error;
    r->zoom = (LEAST_CELL + r->facts.size - 1) / r->facts.size;
    int64_t width = COLUMNS * (int64_t)(cell_of(r) + GAP) - GAP;
    int64_t height = (int64_t)rows * (cell_of(r) + GAP) - GAP;
    if (height > RT_MAX_IMAGE_SIDE)
        return cli_fail(r->c, CLI_USER_ERROR,
                        "%zu images make a picture of %lld lines, expected at most %d; give fewer",
                        rows, (long long)height, RT_MAX_IMAGE_SIDE);
    if (!rt_image_new((int)width, (int)height, r->facts.channels, &r->out, &error))
        return cli_fail(r->c, CLI_RUN_FAILED, "%s", error.text);
    memset(r->out.pixels, WHITE, (size_t)width * (size_t)height * (size_t)r->facts.channels);
    return CLI_DONE;
}

static void put(const reconstruct *r, const rt_image *image, size_t row, int column) {
    int channels = image->channels, cell = cell_of(r), left = column * (cell + GAP);
    for (int y = 0; y < cell; y++)
        for (int x = 0; x < cell; x++) {
            int64_t line = (int64_t)row * (cell + GAP) + y;
            int64_t from = (int64_t)(y / r->zoom) * image->width + x / r->zoom;
            memcpy(r->out.pixels + (line * r->out.width + left + x) * channels,
                   image->pixels + from * channels, (size_t)channels);
        }
}

/* A row of it. `image` is used up. */
static int add_row(reconstruct *r, rt_image *image, size_t row, int64_t place) {
    int64_t patches = r->grid * r->grid, width = r->patch * r->patch * image->channels;
    const float *mask = cli_program_io(&r->program, "mask")->data;
    const float *pred = cli_program_io(&r->program, "pred")->data;
    rt_image masked;
    rt_error error;
    if (!rt_image_new(image->width, image->height, image->channels, &masked, &error))
        return cli_fail(r->c, CLI_RUN_FAILED, "%s", error.text);
    memcpy(masked.pixels, image->pixels,
           (size_t)image->width * (size_t)image->height * (size_t)image->channels);
    put(r, image, row, 0);
    for (int64_t l = 0; l < patches; l++) {
        if (mask[place * patches + l] == 0) continue;
        blot_out(r, &masked, l);
        paint(r, image, l, pred + (place * patches + l) * width);
    }
    put(r, &masked, row, 1);
    put(r, image, row, 2);
    rt_image_free(&masked);
    return CLI_DONE;
}

/* --- all images --- */

/* Images at, at + 1... as far as the batch goes. */
static int run_batch(reconstruct *r, size_t at, rt_image *images, int32_t *order) {
    const cli_list *files = &r->c->options->files;
    const cli_io *image = cli_program_io(&r->program, "image");
    float *mask = cli_program_io(&r->program, "mask")->data;
    int64_t batch = r->program.batch, patches = r->grid * r->grid, count = 0;
    int64_t pixels = ir_type_elements(image->type) / batch;
    int code = CLI_DONE;
    for (int64_t i = 0; i < batch; i++)
        draw_mask(r, at + (size_t)i, mask + i * patches, order);
    while (code == CLI_DONE && count < batch && at + (size_t)count < files->count) {
        rt_error error;
        if (!cli_facts_image(&r->facts, files->item[at + (size_t)count], &images[count], &error)) {
            code = cli_fail(r->c, CLI_USER_ERROR, "%s", error.text);
            break;
        }
        rt_image_normalize(&images[count], r->facts.mean, r->facts.std,
                           (float *)image->data + count * pixels);
        count++;
    }
    if (code == CLI_DONE) code = cli_program_step(r->c, &r->program, 0, 1, 0);
    for (int64_t i = 0; i < count; i++) {
        if (code == CLI_DONE) code = add_row(r, &images[i], at + (size_t)i, i);
        rt_image_free(&images[i]);
    }
    return code;
}

static int run_all(reconstruct *r) {
    size_t count = r->c->options->files.count, batch = (size_t)r->program.batch;
    int32_t *order = malloc((size_t)(r->grid * r->grid) * sizeof *order);
    rt_image *images = calloc(batch, sizeof *images);
    rt_error error;
    int code = order && images ? CLI_DONE : cli_fail(r->c, CLI_RUN_FAILED, "out of memory");
    for (size_t at = 0; at < count && code == CLI_DONE; at += batch)
        code = run_batch(r, at, images, order);
    free(order);
    free(images);
    if (code != CLI_DONE) return code;
    if (!rt_image_write_png(r->c->options->output, &r->out, &error))
        return cli_fail(r->c, CLI_RUN_FAILED, "%s", error.text);
    cli_note(r->c, "wrote %s: %zu row%s of original, masked, reconstruction", r->c->options->output,
             count, count == 1 ? "" : "s");
    return CLI_DONE;
}

int cli_reconstruct(cli *c) {
    reconstruct r = {.c = c};
    cli_weights weights = {0};
    int64_t files = (int64_t)c->options->files.count;
    cli_want want = {.kind = IR_KIND_INFER, .batch = files < MOST_BATCH ? files : MOST_BATCH};
    int code = cli_program_graph(c, &want, &r.program);
    if (code == CLI_DONE) code = cli_program_plan(c, &r.program);
    if (code == CLI_DONE) code = cli_load(c, &r.program, c->options->weights, &r.facts, &weights);
    if (code == CLI_DONE) code = check_model(&r);
    if (code == CLI_DONE) code = new_picture(&r, c->options->files.count);
    if (code == CLI_DONE) code = cli_ready(c, &r.program, &weights);
    if (code == CLI_DONE) code = run_all(&r);
    cli_weights_free(&weights);
    if (r.out.pixels) rt_image_free(&r.out);
    cli_program_free(&r.program);
    return code;
}
