#include "check.h"

static sl_wire_output output;
static sl_string error;

/* Three images of a: ints (5, null, 7) and b: text ("x", "", absent). */
static bool apply(void) {
    static int64_t ints[] = {5, 0, 7};
    static uint8_t a_state[] = {0, 1, 0}, b_state[] = {0, 0, 2}, kinds[] = {SL_INSERT, SL_BEFORE, SL_AFTER};
    static uint32_t offsets[] = {0, 1, 1, 1};
    sl_wire_column columns[2] = {
        {.index = 0, .state = {a_state, 3}, .data = {.tag = SL_INTS, .val.ints = {ints, 3}}},
        {.index = 1, .state = {b_state, 3}, .data = {.tag = SL_STRINGS, .val.strings = {{offsets, 4}, {(uint8_t *)"x", 1}}}},
    };
    sl_wire_batch batch = {.rows = 3, .kinds = {kinds, 3}, .columns = {columns, 2}};
    return sl_transform(1, &batch, &output, &error);
}

static const sl_type TYPES[] = {SL_INT64, SL_TEXT};

static void both(sl_table *table, sl_config *config) {
    cols[0] = sl_edit(table, sl_fixed(config, "a"));
    cols[1] = sl_edit(table, sl_fixed(config, "b"));
    cols[2] = sl_add(table, config, "n", SL_TEXT);
    cols[3] = sl_add(table, config, "u", SL_UUID);
    if (sl_config_flag(config, "selects", true)) sl_selects(table);
    sl_changes_kinds(table);
    sl_route(table, "side");
}

static sl_keep keeps(sl_row *row) { (void)row; return SL_KEEP; }

static void start(sl_keep (*does)(sl_row *row)) {
    on_open = both;
    on_row = does;
    CHECK(open_with("{}", TYPES, 2));
}

static void what_is_not_set_stays(void) {
    start(keeps);
    CHECK(apply() && output.columns.len == 4 && output.select.val.len == 3 && output.routes.len == 3);
    const sl_wire_column *c = output.columns.ptr;
    CHECK(c[0].index == 0 && c[0].data.val.ints.len == 3 && c[0].data.val.ints.ptr[2] == 7 && c[0].state.len == 3 && c[0].state.ptr[1] == SL_NULL);
    CHECK(c[1].data.val.strings.offsets.len == 4 && c[1].data.val.strings.data.len == 1 && c[1].state.ptr[2] == SL_ABSENT);
    /* New ones: null, or absent where what they are computed from is. */
    CHECK(c[2].index == 2 && c[2].state.ptr[0] == SL_NULL && c[2].state.ptr[2] == SL_ABSENT && c[2].data.val.strings.data.len == 0);
    CHECK(c[3].index == 3 && c[3].data.tag == SL_UUIDS && c[3].data.val.uuids.len == 48);
    CHECK(output.kinds.len == 3 && output.kinds.ptr[1] == SL_BEFORE && output.rejects.len == 0);
}

static sl_keep sets(sl_row *row) {
    int64_t a;
    sl_text b;
    if (!sl_get_int64(row, cols[0], &a)) {
        CHECK(sl_state_of(row, cols[0]) == SL_NULL);
        sl_set_missing_like(row, cols[2], cols[0]);
        sl_set_kind(row, SL_DELETE);
        return SL_KEEP;
    }
    sl_set_text(row, cols[2], sl_text_of("taken back"));
    sl_set_text(row, cols[2], sl_format("%lld", (long long)a));
    sl_set_int64(row, cols[0], a * 2);
    int64_t again;
    CHECK(sl_get_int64(row, cols[0], &again) && again == a);
    if (sl_get_text(row, cols[1], &b)) sl_set_null(row, cols[1]);
    else sl_set_text(row, cols[1], sl_text_of("\xc3\xa9"));
    sl_uuid uuid = {{1, 2}};
    sl_set_uuid(row, cols[3], uuid);
    sl_send_to(row, 1);
    return a == 7 ? SL_COPIES(3) : SL_KEEP;
}

static void what_is_set_goes_out(void) {
    start(sets);
    CHECK(apply() && output.select.val.len == 5);
    const sl_wire_column *c = output.columns.ptr;
    static const uint32_t select[] = {0, 1, 2, 2, 2};
    CHECK(memcmp(output.select.val.ptr, select, sizeof select) == 0);
    CHECK(c[0].data.val.ints.ptr[0] == 10 && c[0].data.val.ints.ptr[4] == 14 && c[0].state.ptr[1] == SL_NULL);
    const sluice_plugin_types_strings_t *b = &c[1].data.val.strings, *n = &c[2].data.val.strings;
    CHECK(b->data.len == 6 && b->offsets.ptr[4] == 4 && c[1].state.ptr[0] == SL_NULL && c[1].state.ptr[4] == SL_VALUE);
    CHECK(n->data.len == 4 && memcmp(n->data.ptr, "5777", 4) == 0 && c[2].state.ptr[1] == SL_NULL);
    CHECK(c[3].data.val.uuids.ptr[64] == 1 && output.routes.ptr[0] == 1 && output.routes.ptr[1] == 0 && output.kinds.ptr[1] == SL_DELETE);
}

static sl_keep emits(sl_row *row) {
    for (int i = 0; i < 40; i++) {
        sl_text many = sl_format("%0*d", 200, i);
        sl_set_text(row, cols[2], many);
        sl_emit(row);
    }
    return SL_DROP;
}

static void one_row_becomes_many(void) {
    start(emits);
    CHECK(apply() && output.select.val.len == 120);
    const sluice_plugin_types_strings_t *n = &output.columns.ptr[2].data.val.strings;
    CHECK(n->offsets.len == 121 && n->data.len == 24000 && memcmp(n->data.ptr + 23998, "39", 2) == 0);
    CHECK(output.columns.ptr[0].data.val.ints.ptr[119] == 7 && output.columns.ptr[0].data.val.ints.len == 120);
}

static sl_keep rejects(sl_row *row) {
    if (sl_kind_of(row) != SL_INSERT) return SL_KEEP;
    sl_set_text(row, cols[2], sl_text_of("is ignored"));
    return sl_reject(row, cols[1], "no %d", 5);
}

static void a_refused_row_has_a_place_and_words(void) {
    start(rejects);
    CHECK(apply() && output.rejects.len == 1 && output.select.val.len == 3);
    const sl_wire_reject *reject = output.rejects.ptr;
    CHECK(reject->row == 0 && reject->column.is_some && reject->column.val == 1);
    CHECK_TEXT(sl_from_wire(reject->message), "no 5");
    CHECK(output.columns.ptr[2].data.val.strings.offsets.len == 4);
}

static sl_keep misreads(sl_row *row) { bool b; return sl_get_bool(row, cols[0], &b) ? SL_DROP : SL_KEEP; }
static sl_keep reads_added(sl_row *row) { sl_text t; return sl_get_text(row, cols[2], &t) ? SL_DROP : SL_KEEP; }
static sl_keep miswrites(sl_row *row) { sl_set_double(row, cols[1], 1); return SL_KEEP; }
static sl_keep writes_half(sl_row *row) { sl_set_text(row, cols[1], sl_text_of("\xc3")); return SL_KEEP; }
static sl_keep goes_nowhere(sl_row *row) { sl_send_to(row, 2); return SL_KEEP; }
static sl_keep fails(sl_row *row) { return sl_fail(row, "because of %s", "this"); }

static void mistakes_of_the_plugin_have_words(void) {
    static const struct {
        sl_keep (*row)(sl_row *row);
        const char *says;
    } ALL[] = {
        {misreads, "column `a` is int64 and was read as true or false"},
        {reads_added, "a column was read that open only added"},
        {miswrites, "column `b` is text and can't be set to a float"},
        {writes_half, "column `b` was set to what is not UTF-8"},
        {goes_nowhere, "a row was sent to a route that open didn't ask for"},
        {fails, "because of this"},
    };
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
        start(ALL[i].row);
        CHECK(!apply());
        CHECK_TEXT(sl_from_wire(error), ALL[i].says);
    }
}

static sl_keep drops(sl_row *row) { (void)row; return SL_DROP; }

static void what_was_not_announced_fails(void) {
    on_open = both;
    on_row = drops;
    CHECK(open_with("{\"selects\": false}", TYPES, 2) && !apply());
    CHECK_TEXT(sl_from_wire(error), "a row was dropped or copied, but open didn't call sl_selects()");
    sl_close_table(1);
    CHECK(!apply());
    CHECK_TEXT(sl_from_wire(error), "no table is open as 1");
}

void row_tests(void) {
    what_is_not_set_stays();
    what_is_set_goes_out();
    one_row_becomes_many();
    a_refused_row_has_a_place_and_words();
    mistakes_of_the_plugin_have_words();
    what_was_not_announced_fails();
}
