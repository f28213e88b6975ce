/* A transform that looks at a clock, which nobody grants. */
#include <sl_contract.h>
#include <sluice.h>

static void open(void *self, sl_table *table, sl_config *config) {
    (void)self;
    sl_mistake(table, config, "opened at %llu", (unsigned long long)wasi_clocks_monotonic_clock_now());
}

static sl_keep row(const void *self, sl_row *row) {
    (void)self, (void)row;
    return SL_KEEP;
}

SL_PLUGIN(.summary = "Never loaded", .open = open, .row = row);
