/* Random graphs all the way: passes, plan, interpreter and machine code against the reference, with
 * gradients and updates; and with the optional passes of both levels switched off.
 * cnx-test: codegen
 */
#include "graph_run.h"
#include "seed.h"

static const ir_machine small = {"test", 8, 16, 4, 2, 32768, 524288, 33554432};

static graph_run run_of(uint64_t seed, ir_kind kind, const ir_machine *machine, bool plain) {
    graph_run_options options = {
        .seed = seed, .machine = machine, .workers = 1 + (int64_t)(seed % 3), .plain = plain};
    return graph_run_new(random_graph_new(seed, kind).graph, &options);
}

static uint64_t first_seed(int graphs) {
    uint64_t seed = seed_of_test();
    print_message("seeds %llu..%llu\n", (unsigned long long)seed,
                  (unsigned long long)seed + (uint64_t)graphs - 1);
    return seed;
}

static void plans_give_the_values_of_graphs(void **state) {
    (void)state;
    enum { GRAPHS = 40 };
    uint64_t seed = first_seed(GRAPHS);
    for (int i = 0; i < GRAPHS; i++, seed++)
        for (int kind = 0; kind < 3; kind++)
            for (int plain = 0; plain < 2; plain++) {
                graph_run r = run_of(seed, (ir_kind)kind, &small, plain);
                graph_run_interpret(&r, plain ? "plan without passes" : "plan");
                graph_run_free(&r);
            }
}

static void machine_code_gives_the_values_of_graphs(void **state) {
    (void)state;
    enum { GRAPHS = 6 };
    uint64_t seed = first_seed(GRAPHS);
    for (int i = 0; i < GRAPHS; i++, seed++)
        for (size_t m = 0; m < cg_machine_count(); m++) {
            const cg_machine *machine = cg_machine_at(m);
            if (!cg_machine_runs_here(machine)) continue;
            graph_run r = run_of(seed, (ir_kind)((i + m) % 3), &machine->facts, false);
            graph_run_compile(&r, machine);
            graph_run_free(&r);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_give_the_values_of_graphs),
        cmocka_unit_test(machine_code_gives_the_values_of_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
