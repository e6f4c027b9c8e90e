/* Names of compiled functions for `perf`: it reads /tmp/perf-PID.map, lines of hexadecimal address
 * and size and a name. The linker tells the addresses of public symbols only; every function lies
 * in the same section as they do, so the distances in the object's symbol table give the rest.
 */
#ifndef CG_PERF_H
#define CG_PERF_H

#include <llvm-c/Types.h>

#include <stdbool.h>
#include <stdint.h>

/* Appends the functions of `object` (ELF), of which `known` was loaded at `address`; their names in
 * perf begin with `program`. False if the file cannot be written. */
bool cg_perf_write(LLVMMemoryBufferRef object, const char *known, uintptr_t address,
                   const char *program);

#endif
