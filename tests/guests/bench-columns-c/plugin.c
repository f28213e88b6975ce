/* What `make bench` measures of the column interface in C: writes one column in small letters and reads a number out of another. */
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

static void batch(const void *self, sl_batch *batch) {
    const struct bench *bench = self;
    size_t images = sl_images(batch);
    sl_view text = sl_view_of(batch, bench->text), digits = sl_view_of(batch, bench->digits);
    sl_view numbers = sl_new_view(batch, bench->number, images, 0);
    for (size_t i = 0; i < images; i++) {
        sl_text number = {digits.text + digits.offsets[i], digits.offsets[i + 1] - digits.offsets[i]};
        if (!sl_to_int64(number, &numbers.ints[i])) sl_fail_batch(batch, "not a number");
    }
    sl_put(batch, bench->number, numbers, images);
    /* In place, all of it at once: letters of ASCII stand in no other character. */
    for (uint32_t at = 0; at < text.offsets[images]; at++) {
        uint8_t byte = text.bytes[at];
        text.bytes[at] = byte | (uint8_t)((uint8_t)(byte - 'A') < 26) << 5;
    }
    sl_put(batch, bench->text, text, images);
}

SL_PLUGIN(.summary = "Is measured", .size = sizeof(struct bench), .open = open, .batch = batch);
