#include "cg_machine.h"

#include <string.h>

#define KB 1024
#define MB (1024 * KB)

static const cg_machine machines[] = {
    {{"generic", 4, 16, 4, 1, 32 * KB, 256 * KB, 4 * MB}, "", "", false, 0},
    {{"x86-64-v3", 8, 16, 4, 2, 32 * KB, 512 * KB, 16 * MB},
     "x86-64-v3",
     "",
     true,
     CG_AVX2 | CG_FMA},
    {{"x86-64-v4", 16, 32, 4, 2, 32 * KB, 1 * MB, 16 * MB},
     "x86-64-v4",
     "",
     true,
     CG_AVX2 | CG_FMA | CG_AVX512},
    {{"znver4", 16, 32, 4, 1, 32 * KB, 1 * MB, 32 * MB},
     "znver4",
     "",
     true,
     CG_AVX2 | CG_FMA | CG_AVX512 | CG_AVX512_BF16},
    {{"sapphirerapids", 16, 32, 4, 2, 48 * KB, 2 * MB, 32 * MB},
     "sapphirerapids",
     "",
     true,
     CG_AVX2 | CG_FMA | CG_AVX512 | CG_AVX512_BF16 | CG_AMX_BF16},
};

size_t cg_machine_count(void) {
    return sizeof machines / sizeof *machines;
}
const cg_machine *cg_machine_at(size_t index) {
    return &machines[index];
}

#if defined(__x86_64__)
#include <cpuid.h>

static unsigned long long enabled_state(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (unsigned long long)high << 32 | low;
}

unsigned cg_machine_offers(void) {
    unsigned a, b, c, d, offers = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    unsigned long long state = enabled_state();
    bool avx = (state & 6) == 6, avx512 = (state & 0xe6) == 0xe6,
         amx = (state & 0x60000) == 0x60000;
    if (avx && (c & bit_FMA)) offers |= CG_FMA;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return offers;
    unsigned wide = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    if (avx && (b & bit_AVX2)) offers |= CG_AVX2;
    if (avx512 && (b & wide) == wide) offers |= CG_AVX512;
    if (amx && (d & 1u << 22) && (d & 1u << 24)) offers |= CG_AMX_BF16;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && avx512 && (a & 1u << 5))
        offers |= CG_AVX512_BF16;
    return offers;
}
#else
unsigned cg_machine_offers(void) {
    return 0;
}
#endif

bool cg_machine_runs_here(const cg_machine *machine) {
    return (machine->needs & ~cg_machine_offers()) == 0;
}

const cg_machine *cg_machine_find(const char *name) {
    if (strcmp(name, "native") == 0) {
        for (size_t i = cg_machine_count(); i-- > 0;)
            if (cg_machine_runs_here(&machines[i])) return &machines[i];
    }
    for (size_t i = 0; i < cg_machine_count(); i++)
        if (strcmp(machines[i].facts.name, name) == 0) return &machines[i];
    return NULL;
}
