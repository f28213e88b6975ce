/* What a guest may not do. Answers are spoilt in their first written column, where they are about one. */
#include <string.h>

#include "probe.h"

void spin(void) {
    for (volatile uint64_t turns = 0;; turns++) {}
}

void allocate(void) {
    for (;;) memset(sl_alloc(1 << 20), 1, 1 << 20);
}

#pragma clang diagnostic ignored "-Winfinite-recursion"
static uint64_t deeper(uint64_t depth) {
    volatile uint64_t here[64];
    for (size_t i = 0; i < 64; i++) here[i] = depth;
    return deeper(here[3] + 1) + here[1];
}

void recurse(void) {
    volatile uint64_t end = deeper(0);
    (void)end;
    sl_panic("the stack had no end");
}

void spoil_plan(const probe *probe, const sl_table_info *table, sl_plan *plan) {
    uint32_t beyond = (uint32_t)probe->columns + 7;
#define ADD(list, value) \
    do { \
        void *more = sl_alloc((plan->list.len + 1) * sizeof *plan->list.ptr); \
        if (plan->list.len) memcpy(more, plan->list.ptr, plan->list.len * sizeof *plan->list.ptr); \
        plan->list.ptr = more; \
        plan->list.ptr[plan->list.len++] = value; \
    } while (0)
    switch (probe->command) {
    case DO_PLAN_READS_UNKNOWN: ADD(read, beyond); break;
    case DO_PLAN_READS_TWICE: ADD(read, plan->read.ptr[0]); break;
    case DO_PLAN_WRITES_UNKNOWN: plan->write.ptr[0].index = beyond; break;
    case DO_PLAN_WRITES_TWICE: ADD(write, plan->write.ptr[0]); break;
    case DO_PLAN_RENAMES_TO_EXISTING: {
        sl_contract_tuple2_u32_string_t rename = {0, table->columns.ptr[1].name};
        ADD(rename, rename);
        break;
    }
    case DO_PLAN_DROPS_UNKNOWN: ADD(drop, beyond); break;
    case DO_PLAN_FROM_UNKNOWN: ADD(write.ptr[0].from, beyond); break;
    default: break;
    }
#undef ADD
}

/* The first written column as text. */
static sluice_plugin_types_strings_t *texts(sl_wire_output *output) { return &output->columns.ptr[0].data.val.strings; }

static sl_wire_reject *reject(sl_wire_output *output, size_t count) {
    output->rejects.ptr = sl_alloc(count * sizeof *output->rejects.ptr);
    output->rejects.len = count;
    for (size_t i = 0; i < count; i++)
        output->rejects.ptr[i] = (sl_wire_reject){.row = 0, .message = sl_wire(sl_text_of("told to reject"))};
    return output->rejects.ptr;
}

static void *filled(int value, size_t size) { return memset(sl_alloc(size), value, size); }

static void spoil_offsets(command command, sluice_plugin_types_strings_t *text, uint32_t rows) {
    sl_contract_list_u32_t *offsets = &text->offsets;
    uint32_t *all = sl_alloc((rows + 2) * sizeof *all);
    memcpy(all, offsets->ptr, offsets->len * sizeof *all);
    offsets->ptr = all;
    switch (command) {
    case DO_SHORT_COLUMN: all[rows - 1] = all[rows], offsets->len--; break;
    case DO_LONG_COLUMN: all[rows + 1] = all[rows], offsets->len++; break;
    case DO_DESCENDING_OFFSETS:
        for (uint32_t i = 0; i <= rows / 2; i++) {
            uint32_t other = all[rows - i];
            all[rows - i] = all[i];
            all[i] = other;
        }
        break;
    case DO_OFFSETS_BEYOND_END:
        for (uint32_t i = 0; i <= rows; i++) all[i] += 1000000;
        break;
    case DO_FIRST_OFFSET_NOT_ZERO: all[0] = 1; break;
    default: { /* offsets in a character */
        char *data = sl_alloc(rows * 2);
        for (uint32_t i = 0; i < rows; i++) memcpy(data + i * 2, "\xc3\xa9", 2);
        text->data = (sl_string){(uint8_t *)data, rows * 2};
        for (uint32_t i = 0; i <= rows; i++) all[i] = i == 0 || i == rows ? i * 2 : i * 2 - 1;
        if (rows == 1) all[1] = 1;
    }
    }
}

static void spoil_select(command command, sl_wire_output *output, uint32_t rows) {
    uint32_t *select = sl_alloc((rows + 1) * sizeof *select);
    size_t count = rows;
    for (uint32_t i = 0; i < rows; i++) select[i] = command == DO_DESCENDING_SELECT ? rows - 1 - i : i;
    if (command == DO_DESCENDING_SELECT && rows == 1) select[1] = 1, count = 2;
    if (command == DO_SELECT_BEYOND_END) select[rows - 1] = rows;
    output->select.is_some = true;
    output->select.val = (sl_contract_list_u32_t){select, count};
}

static sl_string shared_text(void) { return (sl_string){filled('x', 1 << 20), 1 << 20}; }

/* The same megabyte of memory, `times` times. */
static void alias_columns(const probe *probe, sl_wire_output *output) {
    sl_string text = shared_text();
    uint32_t *offsets = sl_alloc(2 * sizeof *offsets), index = output->columns.ptr[0].index;
    offsets[0] = 0, offsets[1] = (uint32_t)text.len;
    output->columns.ptr = filled(0, probe->times * sizeof *output->columns.ptr);
    output->columns.len = probe->times;
    for (uint32_t i = 0; i < probe->times; i++) {
        sl_wire_column *column = &output->columns.ptr[i];
        column->index = index;
        column->data.tag = SL_STRINGS;
        column->data.val.strings = (sluice_plugin_types_strings_t){{offsets, 2}, text};
    }
}

static void huge(const probe *probe, sl_wire_output *output, uint32_t rows) {
    uint32_t *offsets = sl_alloc((rows + 1) * sizeof *offsets);
    for (uint32_t i = 0; i <= rows; i++) offsets[i] = i * probe->times;
    sl_wire_column *column = &output->columns.ptr[0];
    column->state.len = 0;
    column->data.tag = SL_STRINGS;
    column->data.val.strings = (sluice_plugin_types_strings_t){{offsets, rows + 1}, {filled('x', offsets[rows]), offsets[rows]}};
}

static void one_column(const probe *probe, sl_wire_output *output, uint32_t rows) {
    sl_wire_column *column = &output->columns.ptr[0];
    switch (probe->command) {
    case DO_WRONG_TYPE: {
        bool ints = column->data.tag == SL_INTS;
        column->data.tag = ints ? SL_FLOATS : SL_INTS;
        column->data.val.ints = (sl_contract_list_s64_t){filled(0, rows * 8), rows};
        break;
    }
    case DO_UNDECLARED_COLUMN: column->index = 1000; break;
    case DO_COLUMN_TWICE: {
        sl_wire_column *twice = sl_alloc((output->columns.len + 1) * sizeof *twice);
        memcpy(twice, output->columns.ptr, output->columns.len * sizeof *twice);
        twice[output->columns.len++] = *column;
        output->columns.ptr = twice;
        break;
    }
    case DO_BAD_STATE: column->state = (sl_contract_list_u8_t){filled(7, rows), rows}; break;
    case DO_SHORT_STATE: column->state = (sl_contract_list_u8_t){filled(0, rows + 2), (rows > 1 ? rows - 1 : 1) + 2}; break;
    case DO_BAD_BOOL:
        column->data.tag = SL_BOOLS;
        column->data.val.bools = (sl_contract_list_u8_t){filled(2, rows), rows};
        break;
    case DO_JOINED_COUNT:
        column->data.val.strings = (sluice_plugin_types_strings_t){{NULL, 0}, {filled(0, rows + 3), rows + 3}};
        break;
    /* What only C can do. */
    case DO_INVALID_UTF8: {
        sl_string *data = &column->data.val.strings.data;
        data->ptr = filled(0xff, data->len);
        break;
    }
    case DO_LENGTH_BEYOND_MEMORY: column->data.val.strings.data.len = SIZE_MAX / 2; break;
    case DO_POINTER_BEYOND_MEMORY: column->data.val.strings.data.ptr = (uint8_t *)(SIZE_MAX - 1000); break;
    case DO_UNALIGNED_LIST: column->data.val.strings.offsets.ptr = (uint32_t *)((uintptr_t)filled(0, rows * 4 + 8) + 1); break;
    case DO_UNKNOWN_CASE: column->data.tag = 77; break;
    default: break;
    }
}

void spoil_output(const probe *probe, const sl_wire_batch *batch, sl_wire_output *output) {
    uint32_t rows = batch->rows;
    switch (probe->command) {
    case DO_SHORT_COLUMN: case DO_LONG_COLUMN: case DO_DESCENDING_OFFSETS: case DO_OFFSETS_BEYOND_END: case DO_OFFSETS_IN_CHARACTER:
    case DO_FIRST_OFFSET_NOT_ZERO:
        spoil_offsets(probe->command, texts(output), rows);
        break;
    case DO_DESCENDING_SELECT: case DO_SELECT_BEYOND_END: case DO_SELECT_UNDECLARED: spoil_select(probe->command, output, rows); break;
    case DO_SHORT_KINDS: output->kinds = (sl_contract_list_u8_t){filled(1, rows + 1), rows + 1}; break;
    case DO_BAD_KIND: output->kinds = (sl_contract_list_u8_t){filled(9, rows), rows}; break;
    case DO_KINDS_UNDECLARED: output->kinds = batch->kinds; break;
    case DO_SHORT_ROUTES: output->routes = (sl_contract_list_u16_t){filled(0, (rows + 1) * 2), rows + 1}; break;
    case DO_BAD_ROUTE:
        output->routes = (sl_contract_list_u16_t){sl_alloc(rows * 2), rows};
        for (uint32_t i = 0; i < rows; i++) output->routes.ptr[i] = 2;
        break;
    case DO_REJECT_BEYOND_END: reject(output, 1)->row = rows; break;
    case DO_REJECT_UNKNOWN_COLUMN: reject(output, 1)->column = (sl_contract_option_u32_t){true, 1000}; break;
    case DO_TOO_MANY_REJECTS: reject(output, probe->times); break;
    case DO_LONG_REJECT: reject(output, 1)->message = (sl_string){filled('x', probe->times), probe->times}; break;
    case DO_INVALID_UTF8_MESSAGE: reject(output, 1)->message = sl_wire(sl_text_of("\xed\xa0\x80")); break;
    case DO_UNKNOWN_OPTION: memset(&reject(output, 1)->column.is_some, 7, 1); break;
    case DO_ALIASED_REJECTS: {
        sl_string text = shared_text();
        sl_wire_reject *all = reject(output, probe->times);
        for (uint32_t i = 0; i < probe->times; i++) all[i].message = text;
        break;
    }
    case DO_ENDLESS_LIST: output->columns.len = SIZE_MAX; break;
    case DO_ALIASED_COLUMNS: alias_columns(probe, output); break;
    case DO_HUGE_OUTPUT: huge(probe, output, rows); break;
    default: one_column(probe, output, rows);
    }
}
