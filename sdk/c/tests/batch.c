#include "check.h"

static sl_wire_output output;
static const sl_type TYPES[] = {SL_TEXT, SL_BYTES};

static void columns(sl_table *table, sl_config *config) {
    cols[0] = sl_edit(table, sl_fixed(config, "a"));
    cols[1] = sl_read(table, sl_fixed(config, "b"));
    cols[2] = sl_add(table, config, "n", SL_INT64);
    if (sl_config_flag(config, "all", true)) sl_selects(table), sl_changes_kinds(table);
}

/* A batch of two images: a: ("x", null), b: bytes 1 and 2 3. */
static sl_batch *start(const char *config) {
    static sl_batch batch;
    static uint8_t a_state[] = {0, 1}, kinds[] = {SL_INSERT, SL_DELETE}, bytes[] = {1, 2, 3};
    static uint32_t a_offsets[] = {0, 1, 1}, b_offsets[] = {0, 1, 3};
    static char text[] = "x";
    sl_wire_column both[2] = {
        {.index = 0, .state = {a_state, 2}, .data = {.tag = SL_STRINGS, .val.strings = {{a_offsets, 3}, {(uint8_t *)text, 1}}}},
        {.index = 1, .data = {.tag = SL_BLOBS, .val.blobs = {{b_offsets, 3}, {bytes, 3}}}},
    };
    on_open = columns;
    CHECK(open_with(config, TYPES, 2));
    sl_wire_batch wire = {.rows = 2, .kinds = {kinds, 2}, .columns = {both, 2}};
    sl_batch_start(&batch, sl_opened_as(1), &wire, &output);
    return &batch;
}

static void columns_come_and_go(void) {
    sl_batch *batch = start("{}");
    CHECK(sl_images(batch) == 2 && sl_kinds(batch)[1] == SL_DELETE);
    sl_view a = sl_view_of(batch, cols[0]), b = sl_view_of(batch, cols[1]);
    CHECK(a.state[1] == SL_NULL && a.text[0] == 'x' && !b.state && b.offsets[2] == 3 && b.bytes[2] == 3);
    sl_view n = sl_new_view(batch, cols[2], 3, 0);
    CHECK(n.ints[0] == 0 && n.ints[2] == 0);
    n.ints[2] = 9;
    n.state = sl_new_states(batch, 3);
    n.state[0] = SL_ABSENT;
    sl_put(batch, cols[2], n, 3);
    sl_view made = sl_new_view(batch, cols[0], 3, 2);
    memcpy(made.text, "yz", 2);
    made.offsets[1] = 1, made.offsets[2] = 1, made.offsets[3] = 2;
    sl_put(batch, cols[0], made, 3);
    static uint32_t select[] = {0, 0, 1};
    static uint8_t kinds[] = {1, 1, 3};
    sl_select_images(batch, select, 3);
    sl_turn_into(batch, kinds, 3);
    sl_reject_image(batch, 1, cols[1], "because of %d", 5);
    sl_reject_image(batch, 0, NULL, "of all");
    CHECK(!batch->failed.data && batch->columns.count == 2 && batch->rejects.count == 2);
    const sl_wire_column *put = batch->columns.items;
    CHECK(put[0].index == 2 && put[0].data.tag == SL_INTS && put[0].data.val.ints.len == 3 && put[0].state.len == 3);
    CHECK(put[1].index == 0 && put[1].state.len == 0 && put[1].data.val.strings.offsets.len == 4 && put[1].data.val.strings.data.len == 2);
    const sl_wire_reject *rejects = batch->rejects.items;
    CHECK(rejects[0].row == 1 && rejects[0].column.is_some && rejects[0].column.val == 1 && !rejects[1].column.is_some);
    CHECK(output.select.val.len == 3 && output.kinds.len == 3);
}

static void what_can_not_be_put(void) {
    sl_batch *batch = start("{\"all\": false}");
    sl_view a = sl_view_of(batch, cols[0]), b = sl_view_of(batch, cols[1]);
    sl_put(batch, cols[1], b, 2);
    CHECK_TEXT(batch->failed, "a column was put that open only read: ask for it by sl_edit() or sl_add()");
    batch = start("{\"all\": false}");
    sl_put(batch, cols[2], a, 2);
    CHECK_TEXT(batch->failed, "column `n` is int64 and was put as another type");
    batch = start("{\"all\": false}");
    sl_view_of(batch, cols[2]);
    CHECK_TEXT(batch->failed, "a column was read that open only added");
    batch = start("{\"all\": false}");
    sl_select_images(batch, NULL, 0);
    sl_turn_into(batch, NULL, 0);
    CHECK_TEXT(batch->failed, "a row was dropped or copied, but open didn't call sl_selects()");
}

/* A batch without rows, whose lists the host makes no memory for. */
static void no_rows(void) {
    on_open = columns;
    CHECK(open_with("{}", TYPES, 2));
    sl_wire_column both[2] = {{.index = 0, .data = {.tag = SL_STRINGS}}, {.index = 1, .data = {.tag = SL_BLOBS}}};
    sl_wire_batch wire = {.columns = {both, 2}};
    sl_string error;
    CHECK(sl_transform(1, &wire, &output, &error) && output.columns.len == 2);
    CHECK(output.columns.ptr[0].data.val.strings.data.len == 0 && output.columns.ptr[0].data.val.strings.offsets.len == 1);
}

void batch_tests(void) {
    columns_come_and_go();
    what_can_not_be_put();
    no_rows();
}
