/* cnxc eval: how many images of the test part a network names right. */
#include "evaluate.h"

#include "rt_signal.h"

enum { DEFAULT_BATCH = 32 };

/* What the images of each class came to; null where there are none. */
static void add_classes(cli_json *j, const cli_class_accuracy *of_class, const rt_data *data) {
    const char *const *names = rt_data_class_names(data);
    cli_json_begin(j, "classes", '[');
    for (int64_t k = 0; k < rt_data_classes(data); k++) {
        const cli_class_accuracy *a = &of_class[k];
        cli_json_begin(j, NULL, '{');
        cli_json_whole(j, "class", k);
        cli_json_string(j, "name", names[k]);
        cli_json_whole(j, "images", a->images);
        cli_json_number(j, "top1", (double)a->top1 / (double)a->images);
        cli_json_number(j, "top5", (double)a->top5 / (double)a->images);
        cli_json_end(j);
    }
    cli_json_end(j);
}

static int print(cli *c, const cli_accuracy *a, const cli_class_accuracy *of_class,
                 const rt_data *data) {
    double images = (double)a->images;
    double top1 = (double)a->top1 / images, top5 = (double)a->top5 / images;
    if (!c->options->json)
        cli_note(c, "top-1 %.4f, top-5 %.4f, loss %.4f on %lld images", top1, top5,
                 a->loss / images, (long long)a->images);
    cli_json j = {0};
    cli_json_begin(&j, NULL, '{');
    cli_json_number(&j, "top1", top1);
    cli_json_number(&j, "top5", top5);
    cli_json_number(&j, "loss", a->loss / images);
    cli_json_whole(&j, "images", a->images);
    if (c->options->json) add_classes(&j, of_class, data);
    cli_json_end(&j);
    ir_text_append(&j.text, "\n", 1);
    int code = cli_write_text(c, NULL, &j.text);
    ir_text_free(&j.text);
    return code;
}

static int evaluate(cli *c, cli_program *p, rt_data *data, const cli_facts *facts) {
    rt_error error;
    rt_loader_options options = cli_facts_loader(facts, p->batch, p->threads);
    rt_loader *loader = rt_loader_new(data, &options, &error);
    if (!loader) return cli_fail(c, CLI_RUN_FAILED, "%s", error.text);
    cli_accuracy accuracy;
    cli_class_accuracy *of_class =
        ir_arena_alloc(c->arena, (size_t)facts->classes * sizeof *of_class);
    int code = cli_evaluate_classes(c, p, loader, of_class, &accuracy);
    rt_loader_free(loader);
    if (code == CLI_DONE && accuracy.stopped)
        code = cli_fail(c, CLI_RUN_FAILED, "stopped after %lld images", (long long)accuracy.images);
    return code == CLI_DONE ? print(c, &accuracy, of_class, data) : code;
}

int cli_eval(cli *c) {
    cli_program p = {0};
    cli_facts facts;
    cli_weights weights = {0};
    cli_want want = {.kind = IR_KIND_INFER, .batch = DEFAULT_BATCH};
    rt_error error;
    rt_signal_watch();
    rt_data *data = rt_data_open(c->options->data, RT_TEST, &error);
    int code = data ? CLI_DONE : cli_fail(c, CLI_RUN_FAILED, "%s", error.text);
    if (code == CLI_DONE) code = cli_program_graph(c, &want, &p);
    if (code == CLI_DONE) code = cli_program_plan(c, &p);
    if (code == CLI_DONE) cli_note_data(c, data);
    if (code == CLI_DONE) code = cli_load(c, &p, c->options->weights, &facts, &weights);
    if (code == CLI_DONE) code = cli_facts_check_classes(c, &facts, data);
    if (code == CLI_DONE) code = cli_ready(c, &p, &weights);
    if (code == CLI_DONE) code = evaluate(c, &p, data, &facts);
    cli_weights_free(&weights);
    if (data) rt_data_close(data);
    cli_program_free(&p);
    return code;
}
