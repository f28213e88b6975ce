#include "check.h"

int checks, failures;
void (*on_open)(sl_table *table, sl_config *config);
sl_keep (*on_row)(sl_row *row);
sl_col cols[8];
sl_option_plan plan;
sl_config_errors mistakes;

static void open(void *self, sl_table *table, sl_config *config) {
    *(int *)self = 7;
    on_open(table, config);
}
static sl_keep row(const void *self, sl_row *row) {
    CHECK(*(const int *)self == 7);
    return on_row(row);
}
SL_PLUGIN(.summary = "is tested", .size = sizeof(int), .open = open, .row = row);

bool open_with(const char *config, const sl_type *types, size_t count) {
    static const char LETTERS[] = "abcdefgh";
    sluice_plugin_types_column_info_t columns[8] = {0};
    for (size_t i = 0; i < count; i++) {
        columns[i].name = (sl_string){(uint8_t *)LETTERS + i, 1};
        columns[i].type = (uint8_t)types[i];
    }
    sl_table_info info = {.name = sl_wire(sl_text_of("t")), .columns = {columns, count}};
    return sl_open_table(1, &info, sl_text_of(config), &plan, &mistakes);
}

sl_text told(void) {
    sl_text all = {"", 0};
    for (size_t i = 0; i < mistakes.len; i++) {
        sl_text path = sl_from_wire(mistakes.ptr[i].path), message = sl_from_wire(mistakes.ptr[i].message);
        all = sl_format("%.*s%.*s: %.*s\n", SL_F(all), SL_F(path), SL_F(message));
    }
    return all;
}

int main(void) {
    json_tests();
    text_tests();
    open_tests();
    row_tests();
    batch_tests();
    sl_close_table(1);
    sl_give_back(&sl_call);
    printf("%d passed, %d failed\n", checks - failures, failures);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The host's side of what plugins ask for: not here. */
void sluice_plugin_log_log(sluice_plugin_log_level_t level, sl_string *message) { (void)level, (void)message; }
bool sluice_plugin_crypto_seal(sl_string *key, sluice_plugin_crypto_place_t *place, sluice_plugin_crypto_blobs_t *values,
                               sluice_plugin_crypto_blobs_t *ret, sl_string *err) {
    (void)key, (void)place, (void)values, (void)ret;
    *err = sl_wire(sl_text_of("no host"));
    return false;
}
bool sluice_plugin_crypto_open(sl_string *key, sluice_plugin_crypto_place_t *place, sluice_plugin_crypto_blobs_t *sealed,
                               sluice_plugin_crypto_opened_t *ret, sl_string *err) {
    (void)key, (void)place, (void)sealed, (void)ret;
    *err = sl_wire(sl_text_of("no host"));
    return false;
}
bool sluice_plugin_crypto_hash(sl_string *key, sl_string *domain, sluice_plugin_crypto_blobs_t *values, sluice_plugin_crypto_blobs_t *ret,
                               sl_string *err) {
    (void)key, (void)domain, (void)values, (void)ret;
    *err = sl_wire(sl_text_of("no host"));
    return false;
}
