/* The images of a run: which part of a data set is learnt from, which one is tested on. */
#include "train.h"

#include <stdlib.h>

static int failed(cli_training *t, const rt_error *error) {
    return cli_fail(t->c, CLI_RUN_FAILED, "%s", error->text);
}

static int keep(cli_training *t, rt_data *data, bool aside) {
    const fe_recipe *recipe = &t->step.recipe;
    rt_subset subset = {.holdout = recipe->holdout,
                        .fraction = recipe->data_fraction,
                        .seed = recipe->data_seed ? (uint64_t)recipe->data_seed : t->seed,
                        .aside = aside};
    rt_error error;
    if (subset.holdout == 0 && subset.fraction == 1) return CLI_DONE;
    return rt_data_keep(data, &subset, &error) ? CLI_DONE : failed(t, &error);
}

static int check_draw(cli_training *t) {
    const fe_recipe *recipe = &t->step.recipe;
    if (recipe->data_seed == 0 || recipe->data_fraction < 1) return CLI_DONE;
    fe_recipe_unused(recipe, FE_FIELD_data_seed, "data_fraction is 1", t->c->diag);
    return t->c->diag->errors ? cli_fail_diag(t->c) : CLI_DONE;
}

/* What the recipe says about tests has no effect where there are none. */
static int check_untested(cli_training *t, const char *why) {
    const fe_recipe *recipe = &t->step.recipe;
    ir_diag *diag = t->c->diag;
    if (recipe->holdout > 0) fe_recipe_unused(recipe, FE_FIELD_holdout, why, diag);
    if (recipe->test_epochs > 1) fe_recipe_unused(recipe, FE_FIELD_test_epochs, why, diag);
    return diag->errors ? cli_fail_diag(t->c) : CLI_DONE;
}

/* The images set aside, or else the test part, if there is one. */
static int open_test(cli_training *t) {
    rt_error error;
    const char *directory = t->c->options->data;
    bool aside = t->step.recipe.holdout > 0;
    if (!aside && !rt_data_has(directory, RT_TEST)) {
        cli_note(t->c, "'%s' has no test part: epochs are not tested", directory);
        return check_untested(t, "there is nothing to test on");
    }
    t->test_data = rt_data_open(directory, aside ? RT_TRAIN : RT_TEST, &error);
    if (!t->test_data) return failed(t, &error);
    if (!aside) cli_note_data(t->c, t->test_data);
    return aside ? keep(t, t->test_data, true) : CLI_DONE; /* its classes are the training part's */
}

int cli_training_open_data(cli_training *t) {
    rt_error error;
    const char *directory = t->c->options->data;
    t->data = t->masked ? rt_data_open_images(directory, &error)
                        : rt_data_open(directory, RT_TRAIN, &error);
    if (!t->data) return failed(t, &error);
    cli_note_data(t->c, t->data);
    int code = cli_facts_check_classes(t->c, &t->facts, t->data);
    if (code == CLI_DONE) code = check_draw(t);
    if (code == CLI_DONE) code = keep(t, t->data, false);
    if (code != CLI_DONE) return code;
    if (t->masked) return check_untested(t, "pre-training is not tested");
    if (!t->facts.class_names) t->facts.class_names = rt_data_class_names(t->data);
    return open_test(t);
}

static rt_augment augment_of(const fe_recipe *recipe) {
    return (rt_augment){.crop_padding = recipe->crop_padding,
                        .flip = recipe->flip,
                        .scale = {recipe->crop_scale[0], recipe->crop_scale[1]},
                        .ratio = {recipe->crop_ratio[0], recipe->crop_ratio[1]}};
}

int cli_training_start_loaders(cli_training *t) {
    rt_error error;
    rt_loader_options options = cli_facts_loader(&t->facts, t->step.batch, t->step.threads);
    if (t->test_data) {
        t->test_loader = rt_loader_new(t->test_data, &options, &error);
        if (!t->test_loader) return failed(t, &error);
    }
    options.training = true;
    options.augment = augment_of(&t->step.recipe);
    options.seed = t->seed;
    t->loader = rt_loader_new(t->data, &options, &error);
    if (!t->loader) return failed(t, &error);
    t->steps = rt_loader_batches(t->loader);
    return CLI_DONE;
}
