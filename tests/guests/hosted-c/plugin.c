/* What a C plugin asks of its host: hashes a column, and takes another one back that it has just sealed. It logs how many. */
#include <sluice.h>
#include <string.h>

struct hosted {
    sl_text key;
    sl_place place;
    sl_col hashed, sealed;
};

static void open(void *self, sl_table *table, sl_config *config) {
    struct hosted *hosted = self;
    hosted->key = sl_config_text(config, "key", NULL);
    hosted->hashed = sl_edit(table, sl_fixed(config, "hashed"));
    hosted->sealed = sl_edit(table, sl_fixed(config, "sealed"));
    hosted->place = sl_place_of(table, hosted->sealed->name);
}

static sl_blobs blobs_of(sl_view view, size_t images) { return (sl_blobs){view.bytes, view.offsets, images}; }

/* The column's values, each by its hash in hexadecimal digits. */
static sl_view in_digits(sl_batch *batch, sl_col column, sl_blobs hashes) {
    sl_view made = sl_new_view(batch, column, hashes.count, hashes.count * 64);
    for (size_t i = 0; i < hashes.count; i++) {
        made.offsets[i + 1] = (uint32_t)((i + 1) * 64);
        for (size_t byte = 0; byte < 32; byte++) {
            uint8_t value = hashes.data[hashes.offsets[i] + byte];
            made.text[i * 64 + byte * 2] = "0123456789abcdef"[value >> 4];
            made.text[i * 64 + byte * 2 + 1] = "0123456789abcdef"[value & 15];
        }
    }
    return made;
}

static void batch(const void *self, sl_batch *batch) {
    const struct hosted *hosted = self;
    size_t images = sl_images(batch), failures;
    sl_view hashed = sl_view_of(batch, hosted->hashed), sealed = sl_view_of(batch, hosted->sealed);
    sl_text why;
    sl_blobs hashes, safe, opened;
    const uint32_t *failed;
    if (!sl_hash(hosted->key, sl_text_of("domain"), blobs_of(hashed, images), &hashes, &why) ||
        !sl_seal(hosted->key, hosted->place, blobs_of(sealed, images), &safe, &why)) {
        sl_fail_batch(batch, "%.*s", SL_F(why));
        return;
    }
    /* One that was changed since does not open. */
    for (size_t i = 0; i < images; i++) {
        sl_text text = {sealed.text + sealed.offsets[i], sealed.offsets[i + 1] - sealed.offsets[i]};
        if (sl_is(text, "broken")) safe.data[safe.offsets[i]] ^= 1;
    }
    if (!sl_open(hosted->key, hosted->place, safe, &opened, &failed, &failures, &why)) {
        sl_fail_batch(batch, "%.*s", SL_F(why));
        return;
    }
    sl_view back = sl_new_view(batch, hosted->sealed, images, opened.offsets[images]);
    memcpy(back.offsets, opened.offsets, (images + 1) * sizeof *back.offsets);
    memcpy(back.text, opened.data, opened.offsets[images]);
    back.state = sl_new_states(batch, images);
    for (size_t i = 0; i < failures; i++) back.state[failed[i]] = SL_NULL;
    sl_put(batch, hosted->hashed, in_digits(batch, hosted->hashed, hashes), images);
    sl_put(batch, hosted->sealed, back, images);
    sl_log(SL_INFO, "%zu rows", images);
}

SL_PLUGIN(.summary = "Hashes one column, and seals and opens another", .size = sizeof(struct hosted), .open = open, .batch = batch);
