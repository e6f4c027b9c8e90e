/* What the machine could do: fused multiply-adds per second of one core, measured on registers. */
#ifndef PEAK_H
#define PEAK_H

/* GFLOP/s (two per multiply-add and element) of the widest vectors this CPU has; about 50 ms. 0
 * where it cannot be measured. */
double cli_fma_peak(void);

#endif
