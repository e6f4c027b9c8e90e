#include "cg_perf.h"

#include <llvm-c/Core.h>

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct symbols {
    const Elf64_Sym *at;
    size_t count;
    const char *names;
} symbols;

/* The symbol table of an object LLVM has just made. */
static symbols find_symbols(const char *object, size_t bytes) {
    symbols s = {0};
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)object;
    if (bytes < sizeof *header || memcmp(object, ELFMAG, SELFMAG) != 0) return s;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(object + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB) continue;
        s.at = (const Elf64_Sym *)(object + sections[i].sh_offset);
        s.count = sections[i].sh_size / sizeof *s.at;
        s.names = object + sections[sections[i].sh_link].sh_offset;
    }
    return s;
}

static const Elf64_Sym *find_symbol(const symbols *s, const char *name) {
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->names + s->at[i].st_name, name) == 0) return &s->at[i];
    return NULL;
}

bool cg_perf_write(LLVMMemoryBufferRef object, const char *known, uintptr_t address,
                   const char *program) {
    symbols s = find_symbols(LLVMGetBufferStart(object), LLVMGetBufferSize(object));
    const Elf64_Sym *anchor = find_symbol(&s, known);
    if (!anchor) return false;
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%ld.map", (long)getpid());
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "a");
    if (!file) {
        if (descriptor >= 0) close(descriptor);
        return false;
    }
    for (size_t i = 0; i < s.count; i++) {
        const Elf64_Sym *symbol = &s.at[i];
        if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx != anchor->st_shndx)
            continue;
        uintptr_t start = address + (uintptr_t)(symbol->st_value - anchor->st_value);
        fprintf(file, "%llx %llx %s:%s\n", (unsigned long long)start,
                (unsigned long long)symbol->st_size, program, s.names + symbol->st_name);
    }
    return fclose(file) == 0;
}
