/* A guest that does, on command, everything a guest may do and much that it may not: the host is tested with it. What is right goes through
 * the SDK; what is wrong is done to what the SDK has made. */
#include "probe.h"

#define WORD(name, word) word,
static const char *const WORDS[] = {COMMANDS(WORD) NULL};

/* Whether the command was about a row of the batch at hand. */
static bool any_meant;

static bool is_one_of(command command, const int *all, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (all[i] == (int)command) return true;
    return false;
}
#define IS_ONE_OF(command, ...) \
    is_one_of(command, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static void announce(const probe *probe, sl_table *table, sl_config *config) {
    command does = probe->command;
    bool selects = sl_config_flag(config, "selects", false);
    if (selects || IS_ONE_OF(does, DO_DROP, DO_FAN_OUT, DO_HISTORY, DO_DESCENDING_SELECT, DO_SELECT_BEYOND_END, DO_RANDOM)) sl_selects(table);
    if (IS_ONE_OF(does, DO_SOFT_DELETE, DO_HISTORY, DO_BAD_KIND, DO_SHORT_KINDS, DO_RANDOM)) sl_changes_kinds(table);
    if (IS_ONE_OF(does, DO_ROUTE, DO_BAD_ROUTE, DO_SHORT_ROUTES, DO_RANDOM)) sl_route(table, "side");
    if (sl_config_flag(config, "no-before-images", false)) sl_no_before_images(table);
}

/* Reads a column, and writes it if the command does. */
static void take(probe *probe, sl_table *table, sl_config *name) {
    bool writes = probe->command != DO_NOTHING && !probe->version_text.size;
    sl_col column = writes ? sl_edit(table, name) : sl_read(table, name);
    if (writes) sl_computed_from(table, column, &column, 1);
    if (!probe->first) probe->first = column;
    if (!probe->always && sl_equal(column->name, probe->when->name)) probe->when = column;
}

static void open(void *self, sl_table *table, sl_config *config) {
    probe *probe = self;
    probe->command = (command)sl_config_word(config, "do", WORDS, DO_NOTHING);
    probe->times = (uint32_t)sl_config_int(config, "times", 2);
    probe->seed = (uint64_t)sl_config_int(config, "seed", 0);
    probe->columns = sl_column_count(table);
    probe->version_text = sl_config_text(config, "version", "");
    sl_config_flag(config, "joined", false); /* text never comes joined */
    if (probe->command == DO_CONFIG_ERRORS) {
        sl_mistake(table, sl_at(config, "do"), "told to refuse this");
        sl_mistake(table, sl_at(config, "version"), "and this");
        return;
    }
    if (probe->command == DO_TRAP_AT_OPEN) sl_panic("told to trap at open");
    if (probe->command == DO_SPIN_AT_OPEN) spin();

    sl_config *when = sl_at(config, "when"), *read = sl_at(config, "read");
    probe->always = when->kind == SL_JSON_MISSING;
    if (!probe->always) {
        sl_column *named = sl_table_alloc(table, sizeof *named);
        named->name = sl_config_text(when, "column", NULL);
        probe->equals = sl_config_text(when, "equals", NULL);
        probe->when = named;
    }
    if (read->kind == SL_JSON_MISSING) {
        for (size_t i = 0; i < probe->columns; i++) {
            sl_text name = sl_column_name(table, i);
            take(probe, table, sl_fixed(config, sl_format("%.*s", SL_F(name)).data));
        }
    }
    for (size_t i = 0; i < read->size; i++) take(probe, table, sl_item(read, i));
    if (probe->version_text.size) {
        probe->version = sl_add(table, sl_at(config, "version"), "version", SL_TEXT);
        sl_never_null(table, probe->version);
        sl_computed_from(table, probe->version, NULL, 0);
    }
    sl_config *renames = sl_at(config, "rename"), *drops = sl_at(config, "drop");
    for (size_t i = 0; i < renames->size; i++) sl_rename(table, sl_item(sl_item(renames, i), 0), sl_item_text(sl_item(renames, i), 1));
    for (size_t i = 0; i < drops->size; i++) sl_drop(table, sl_item(drops, i));
    announce(probe, table, config);
    if (probe->command == DO_DECLINE) sl_skip(table);
}

/* Whether the command is about this row. */
static bool is_meant(const probe *probe, sl_row *row) {
    if (probe->always) return true;
    sl_text text;
    int64_t number, wanted;
    if (!probe->when->read) return false;
    if (sl_shape_of(probe->when->type) == SL_INTS)
        return sl_get_int64(row, probe->when, &number) && sl_to_int64(probe->equals, &wanted) && number == wanted;
    return sl_get_text(row, probe->when, &text) && sl_equal(text, probe->equals);
}

static sl_keep row(const void *self, sl_row *row) {
    const probe *probe = self;
    bool meant = is_meant(probe, row);
    any_meant |= meant;
    if (probe->version) sl_set_text(row, probe->version, probe->version_text);
    if (probe->command == DO_HISTORY) {
        /* Every change is a new row: before images go, after images are inserts. */
        if (sl_kind_of(row) == SL_BEFORE) return SL_DROP;
        if (sl_kind_of(row) != SL_SNAPSHOT) sl_set_kind(row, SL_INSERT);
        return SL_KEEP;
    }
    if (!meant) return SL_KEEP;
    switch (probe->command) {
    case DO_DROP: return SL_DROP;
    case DO_REJECT: return sl_reject(row, probe->first, "told to reject");
    case DO_FAN_OUT: return SL_COPIES(probe->times);
    case DO_ROUTE: sl_send_to(row, 1); return SL_KEEP;
    case DO_SOFT_DELETE:
        if (sl_kind_of(row) == SL_DELETE) sl_set_kind(row, SL_AFTER);
        return SL_KEEP;
    case DO_FAIL: return sl_fail(row, "told to fail the batch");
    case DO_TRAP: sl_panic("told to trap");
    case DO_SPIN: spin();
    case DO_ALLOCATE: allocate();
    case DO_RECURSE: recurse();
    default: return SL_KEEP;
    }
}

SL_PLUGIN(.summary = "Does what its configuration says, right or wrong", .config_schema = "{\"type\": \"object\", \"required\": [\"do\"]}",
          .size = sizeof(probe), .open = open, .row = row);

void exports_sluice_plugin_transformer_describe(exports_sluice_plugin_transformer_info_t *ret) { sl_describe(ret); }
void exports_sluice_plugin_transformer_close(uint32_t handle) { sl_close_table(handle); }

bool exports_sluice_plugin_transformer_open(uint32_t handle, sl_table_info *table, sl_string *config, sl_option_plan *ret,
                                            sl_config_errors *err) {
    if (!sl_open_table(handle, table, sl_from_wire(*config), ret, err)) return false;
    if (ret->is_some) spoil_plan(sl_opened_as(handle)->self, table, &ret->val);
    return true;
}

bool exports_sluice_plugin_transformer_transform(uint32_t handle, sl_wire_batch *batch, sl_wire_output *ret, sl_string *err) {
    any_meant = false;
    if (!sl_transform(handle, batch, ret, err)) return false;
    const probe *probe = sl_opened_as(handle)->self;
    if (!any_meant) return true;
    if (probe->command == DO_RANDOM) return spoil_at_random(probe, batch, ret, err);
    spoil_output(probe, batch, ret);
    return true;
}
