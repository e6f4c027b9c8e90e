/* cnxc --version: what this program is made of, and what this machine can run. */
#include "options.h"

#include "cg_machine.h"
#include "cg_object.h"

void cli_print_version(FILE *out) {
    unsigned major, minor, patch;
    cg_llvm_version(&major, &minor, &patch);
    const cg_machine *native = cg_machine_find("native");
    fprintf(out, "cnxc %s\nLLVM %u.%u.%u\nCPU paths of this machine:", CNX_VERSION, major, minor,
            patch);
    for (size_t i = 0; i < cg_machine_count(); i++)
        if (cg_machine_runs_here(cg_machine_at(i)))
            fprintf(out, " %s", cg_machine_at(i)->facts.name);
    fprintf(out, "\nnative is %s\n", native ? native->facts.name : "unknown");
}
