/* Threads that prepare batches ahead.
 *
 * Positions of an epoch are handed out in order, a few at a time, to whichever thread is free, so
 * all of them work on the batch that is needed next. A finished batch stands in one of two slots
 * until it is taken; threads wait when both are full. Everything below the lock is in `struct
 * rt_loader`; pixels are written outside of it, each position by one thread.
 */
#include "rt_loader.h"

#include "rt_augment.h"
#include "rt_random.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 8 /* positions a thread takes */ };

/* A batch that is being filled or waits to be taken. */
typedef struct slot {
    float *image;    /* (batch, C, H, W) */
    int64_t *label;  /* (batch) */
    int64_t missing; /* images not yet there; negative: not begun */
    int64_t failed;  /* the first position whose image could not be made, or -1 */
    rt_error error;  /* of that one */
} slot;

struct rt_loader {
    const rt_data *data;
    rt_loader_options options;
    int64_t image_elements, batches;
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* threads wait for work; the caller, for what they have done */
    pthread_t thread[RT_MAX_LOADER_THREADS];
    int threads;
    /* below the lock */
    int32_t *order; /* (images): which image stands at a position; in evaluation, itself */
    int64_t epoch;
    int64_t next;  /* position to hand out */
    int64_t taken; /* batches of this epoch that were taken */
    int64_t end;   /* positions of this epoch */
    int busy;      /* threads with positions in hand */
    bool stop;
    slot slots[RT_LOADER_SLOTS];
};

/* A few neighbouring positions of one batch. */
typedef struct share {
    int64_t epoch, begin, end; /* positions */
    slot *slot;
} share;

/* --- threads --- */

/* Image, augmentation and label of a position, into its place of the batch. */
static bool prepare(const rt_loader *loader, const share *work, int64_t position, rt_error *error) {
    const rt_loader_options *options = &loader->options;
    int64_t index = loader->order[position], place = position % options->batch;
    rt_augment_place at = {
        .seed = options->seed, .epoch = (uint32_t)work->epoch, .position = (uint32_t)position};
    rt_image source, ready;
    if (!rt_data_image(loader->data, index, options->channels, &source, error)) return false;
    bool good = rt_augment_image(options, options->training ? &at : NULL, &source, &ready, error);
    if (good) {
        rt_image_normalize(&ready, options->mean, options->std,
                           work->slot->image + place * loader->image_elements);
        work->slot->label[place] = rt_data_label(loader->data, index);
        rt_image_free(&ready);
    } else {
        char name[512];
        rt_data_name(loader->data, index, name, sizeof name);
        rt_fail_in(error, "%s", name);
    }
    rt_image_free(&source);
    return good;
}

/* How many images a batch has. */
static int64_t size_of(const rt_loader *loader, int64_t batch) {
    int64_t rest = loader->end - batch * loader->options.batch;
    return rest < loader->options.batch ? rest : loader->options.batch;
}

/* Below the lock. False if there is nothing to do now. */
static bool take_share(rt_loader *loader, share *work) {
    if (loader->next >= loader->end) return false;
    int64_t batch = loader->next / loader->options.batch;
    if (batch >= loader->taken + RT_LOADER_SLOTS) return false;
    slot *slot = &loader->slots[batch % RT_LOADER_SLOTS];
    if (slot->missing < 0) slot->missing = size_of(loader, batch);
    int64_t end = batch * loader->options.batch + size_of(loader, batch);
    *work = (share){.epoch = loader->epoch, .begin = loader->next, .end = end, .slot = slot};
    if (work->end > work->begin + AT_ONCE) work->end = work->begin + AT_ONCE;
    loader->next = work->end;
    return true;
}

static void keep_error(slot *slot, int64_t position, const rt_error *error) {
    if (slot->failed >= 0 && slot->failed < position) return;
    slot->failed = position;
    slot->error = *error;
}

static void *run(void *argument) {
    rt_loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        share work;
        if (!take_share(loader, &work)) {
            pthread_cond_wait(&loader->work, &loader->lock);
            continue;
        }
        loader->busy++;
        pthread_mutex_unlock(&loader->lock);
        rt_error error;
        int64_t failed = -1;
        for (int64_t p = work.begin; p < work.end && failed < 0; p++)
            if (!prepare(loader, &work, p, &error)) failed = p;
        pthread_mutex_lock(&loader->lock);
        loader->busy--;
        if (failed >= 0) keep_error(work.slot, failed, &error);
        work.slot->missing -= work.end - work.begin;
        if (work.slot->missing == 0 || loader->busy == 0) pthread_cond_broadcast(&loader->done);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* --- the caller's side --- */

static bool check_options(const rt_data *data, const rt_loader_options *o, rt_error *error) {
    int64_t count = rt_data_count(data);
    if (o->batch < 1) return rt_fail(error, "batch is %" PRId64 "; expected at least 1", o->batch);
    if (o->channels != 1 && o->channels != 3)
        return rt_fail(error, "the model takes images of %d channels; expected 1 or 3",
                       o->channels);
    if (o->height != o->width || o->height < 1 || o->height > RT_MAX_IMAGE_SIDE)
        return rt_fail(error, "the model takes images of %d x %d; expected a square of 1 to %d",
                       o->width, o->height, RT_MAX_IMAGE_SIDE);
    const rt_eval_transform *e = &o->evaluate;
    if (e->size != o->height)
        return rt_fail(error, "evaluation makes images of size %d; the model takes %d", e->size,
                       o->height);
    if (!(e->crop_pct > 0 && e->crop_pct <= 1))
        return rt_fail(error, "crop_pct is %g; expected more than 0 and at most 1", e->crop_pct);
    for (int c = 0; c < o->channels; c++)
        if (!isfinite(o->mean[c]) || !isfinite(o->std[c]) || !(o->std[c] > 0))
            return rt_fail(error, "mean and std of channel %d are %g and %g; expected std above 0",
                           c, (double)o->mean[c], (double)o->std[c]);
    if (o->threads < 1 || o->threads > RT_MAX_LOADER_THREADS)
        return rt_fail(error, "%d loader threads; expected 1 to %d", o->threads,
                       RT_MAX_LOADER_THREADS);
    if (count < 1) return rt_fail(error, "the data set has no images");
    if (o->training && count < o->batch)
        return rt_fail(error,
                       "%" PRId64 " images for a batch of %" PRId64
                       "; training needs one whole batch, try a smaller --batch",
                       count, o->batch);
    return !o->training || rt_augment_check(&o->augment, error);
}

static bool allocate(rt_loader *loader, rt_error *error) {
    const rt_loader_options *o = &loader->options;
    int64_t bytes, count = rt_data_count(loader->data);
    loader->image_elements = (int64_t)o->channels * o->height * o->width;
    bool good = rt_multiply(loader->image_elements * 4, o->batch, &bytes);
    loader->order = good ? calloc((size_t)count, sizeof *loader->order) : NULL;
    good = loader->order != NULL;
    for (int i = 0; good && i < RT_LOADER_SLOTS; i++) {
        loader->slots[i].image = malloc((size_t)bytes);
        loader->slots[i].label = calloc((size_t)o->batch, sizeof *loader->slots[i].label);
        good = loader->slots[i].image && loader->slots[i].label;
    }
    for (int64_t i = 0; good && i < count; i++)
        loader->order[i] = (int32_t)i;
    return good || rt_fail(error, "out of memory for batches of %" PRId64 " images", o->batch);
}

static bool start_threads(rt_loader *loader, rt_error *error) {
    while (loader->threads < loader->options.threads) {
        if (pthread_create(&loader->thread[loader->threads], NULL, run, loader) != 0)
            return rt_fail(error, "cannot start thread %d of %d of the loader", loader->threads + 1,
                           loader->options.threads);
        loader->threads++;
    }
    return true;
}

rt_loader *rt_loader_new(const rt_data *data, const rt_loader_options *options, rt_error *error) {
    if (!check_options(data, options, error)) return NULL;
    rt_loader *loader = calloc(1, sizeof *loader);
    if (!loader) {
        rt_fail(error, "out of memory");
        return NULL;
    }
    loader->data = data;
    loader->options = *options;
    int64_t count = rt_data_count(data), batch = options->batch;
    loader->batches = options->training ? count / batch : (count - 1) / batch + 1;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->done, NULL);
    if (allocate(loader, error) && start_threads(loader, error)) return loader;
    rt_loader_free(loader);
    return NULL;
}

void rt_loader_free(rt_loader *loader) {
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->threads; i++)
        pthread_join(loader->thread[i], NULL);
    for (int i = 0; i < RT_LOADER_SLOTS; i++) {
        free(loader->slots[i].image);
        free(loader->slots[i].label);
    }
    free(loader->order);
    pthread_mutex_destroy(&loader->lock);
    pthread_cond_destroy(&loader->work);
    pthread_cond_destroy(&loader->done);
    free(loader);
}

int64_t rt_loader_batches(const rt_loader *loader) {
    return loader->batches;
}

static void empty_slot(slot *slot) {
    slot->missing = -1;
    slot->failed = -1;
}

void rt_loader_start(rt_loader *loader, int64_t epoch, int64_t first_batch) {
    assert(epoch >= 0 && first_batch >= 0);
    const rt_loader_options *o = &loader->options;
    int64_t count = rt_data_count(loader->data);
    pthread_mutex_lock(&loader->lock);
    loader->end = 0; /* nothing more to hand out */
    while (loader->busy > 0)
        pthread_cond_wait(&loader->done, &loader->lock);
    rt_place place = {.step = (uint32_t)epoch, .stream = RT_STREAM_SHUFFLE};
    if (o->training) rt_random_permutation(o->seed, place, loader->order, count);
    for (int i = 0; i < RT_LOADER_SLOTS; i++)
        empty_slot(&loader->slots[i]);
    loader->epoch = epoch;
    loader->taken = first_batch < loader->batches ? first_batch : loader->batches;
    loader->next = loader->taken * o->batch;
    loader->end = o->training ? loader->batches * o->batch : count;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

/* A batch with fewer images than there is room for has zeros behind them. */
static void copy_batch(const rt_loader *loader, const slot *from, int64_t count, float *image,
                       int64_t *label) {
    int64_t rest = loader->options.batch - count, elements = loader->image_elements;
    memcpy(image, from->image, (size_t)(count * elements) * sizeof *image);
    memset(image + count * elements, 0, (size_t)(rest * elements) * sizeof *image);
    memcpy(label, from->label, (size_t)count * sizeof *label);
    memset(label + count, 0, (size_t)rest * sizeof *label);
}

bool rt_loader_next(rt_loader *loader, float *image, int64_t *label, int64_t *count,
                    rt_error *error) {
    *count = 0;
    pthread_mutex_lock(&loader->lock);
    if (loader->taken * loader->options.batch >= loader->end) {
        pthread_mutex_unlock(&loader->lock);
        return true;
    }
    slot *slot = &loader->slots[loader->taken % RT_LOADER_SLOTS];
    while (slot->missing != 0)
        pthread_cond_wait(&loader->done, &loader->lock);
    bool good = slot->failed < 0;
    if (good) {
        *count = size_of(loader, loader->taken);
        pthread_mutex_unlock(&loader->lock);
        copy_batch(loader, slot, *count, image, label); /* nobody else touches a finished slot */
        pthread_mutex_lock(&loader->lock);
        empty_slot(slot);
        loader->taken++;
        pthread_cond_broadcast(&loader->work);
    } else { /* it stays: another call tells the same */
        *error = slot->error;
    }
    pthread_mutex_unlock(&loader->lock);
    return good;
}
