/* Tidies e-mail addresses: small letters, no spaces around them; a row whose address has no `@` is refused. */
#include <sluice.h>

struct email {
    sl_col address, domain;
};

/* Called once per table: which columns are needed, and what becomes of them. */
static void open(void *self, sl_table *table, sl_config *config) {
    struct email *email = self;
    sl_config *column = sl_need_text(config, "column"); /* what stands under `config:` in sluice.yaml */
    email->address = sl_edit(table, column);
    sl_must_be(table, email->address, column, SL_TEXT);
    email->domain = sl_add(table, column, "domain", SL_TEXT);
}

/* Called for every row image. */
static sl_keep row(const void *self, sl_row *row) {
    const struct email *email = self;
    sl_text address;
    /* Null or absent: nothing is set, so the address stays as it is and the domain is null or absent too. */
    if (!sl_get_text(row, email->address, &address)) return SL_KEEP;
    sl_text tidy = sl_lower(sl_trim(address));
    size_t at = sl_find(tidy, "@");
    if (at == SL_NOWHERE) return sl_reject(row, email->address, "no @ in the address");
    sl_set_text(row, email->address, tidy);
    sl_set_text(row, email->domain, sl_slice(tidy, at + 1, tidy.size));
    return SL_KEEP;
}

SL_PLUGIN(
    .summary = "Tidies e-mail addresses and adds their domain",
    .config_schema = "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"column\"],"
                     " \"properties\": {\"column\": {\"type\": \"string\", \"description\": \"The column with the address\"}}}",
    .size = sizeof(struct email),
    .open = open,
    .row = row);
