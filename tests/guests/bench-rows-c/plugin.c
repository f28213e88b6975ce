/* What `make bench` measures of the row interface in C: writes one column in small letters and reads a number out of another. */
#include <sluice.h>

struct bench {
    sl_col text, digits, number;
};

static void open(void *self, sl_table *table, sl_config *config) {
    struct bench *bench = self;
    sl_config *integer = sl_need_text(config, "integer");
    bench->text = sl_edit(table, sl_need_text(config, "lowercase"));
    bench->digits = sl_read(table, integer);
    sl_text to = sl_config_text(config, "to", sl_format("%.*s_n", SL_F(integer->text)).data);
    bench->number = sl_add(table, sl_at(config, "to"), sl_format("%.*s", SL_F(to)).data, SL_INT64);
    sl_config_flag(config, "idle", false); /* the Rust one's */
}

static sl_keep row(const void *self, sl_row *row) {
    const struct bench *bench = self;
    sl_text text;
    int64_t number;
    if (sl_get_text(row, bench->text, &text)) sl_set_text(row, bench->text, sl_lower(text));
    if (sl_get_text(row, bench->digits, &text)) {
        if (!sl_to_int64(text, &number)) return sl_reject(row, bench->digits, "not a number");
        sl_set_int64(row, bench->number, number);
    }
    return SL_KEEP;
}

SL_PLUGIN(.summary = "Is measured", .size = sizeof(struct bench), .open = open, .row = row);
