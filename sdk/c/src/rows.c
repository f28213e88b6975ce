/* A plugin as a function of one row image. */
#include <string.h>

#include "internal.h"

/* What sl_reject and sl_fail answer. */
#define REFUSED ((sl_keep)-1)

/* What goes out besides the columns; each only where the plan announced it. */
typedef struct sl_rows_out {
    sl_row row; /* first, so that a row leads here */
    uint32_t *select;
    uint8_t *kinds;
    uint16_t *routes;
    size_t images, room;
} sl_rows_out;

bool sl_misread(sl_row *row, sl_col column, int shape) {
    static const char *const WORDS[] = {"true or false", "an integer", "an unsigned integer", "a float", "a date", "a point in time",
                                        "text", "bytes", "a uuid"};
    if (!column->read) sl_fail_batch(row->batch, "a column was read that open only added");
    else
        sl_fail_batch(row->batch, "column `%.*s` is %s and was read as %s", SL_F(column->name), sl_type_word(column->type), WORDS[shape]);
    return false;
}

static sl_out *out_of(sl_row *row, sl_col column) {
    if (__builtin_expect(column->write != 0, 1)) return &row->outs[column->write - 1];
    sl_fail_batch(row->batch, "a column was set that open only read: ask for it by sl_edit() or sl_add()");
    return NULL;
}

void sl_set_text(sl_row *row, sl_col column, sl_text value) {
    sl_out *out = out_of(row, column);
    if (!out) return;
    if (__builtin_expect(!sl_is_utf8(value), 0)) {
        sl_fail_batch(row->batch, "column `%.*s` was set to what is not UTF-8", SL_F(column->name));
        return;
    }
    sl_out_bytes(out, SL_STRINGS, value.data, value.size);
}

void sl_set_bytes(sl_row *row, sl_col column, sl_bytes value) {
    sl_out *out = out_of(row, column);
    if (out) sl_out_bytes(out, SL_BLOBS, value.data, value.size);
}

#define SETTER(name, c_type, shape, wire)                    \
    void name(sl_row *row, sl_col column, c_type value) {    \
        sl_out *out = out_of(row, column);                   \
        wire *slot = out ? sl_out_slot(out, shape) : NULL;   \
        if (slot) *slot = value;                             \
    }
SETTER(sl_set_int64, int64_t, SL_INTS, int64_t)
SETTER(sl_set_uint64, uint64_t, SL_UINTS, uint64_t)
SETTER(sl_set_double, double, SL_FLOATS, double)
SETTER(sl_set_bool, bool, SL_BOOLS, uint8_t)
SETTER(sl_set_days, int32_t, SL_DAYS, int32_t)
SETTER(sl_set_micros, int64_t, SL_MICROS, int64_t)
SETTER(sl_set_uuid, sl_uuid, SL_UUIDS, sl_uuid)

void sl_set_null(sl_row *row, sl_col column) {
    sl_out *out = out_of(row, column);
    if (out) out->pending = SL_SET_NULL;
}

void sl_set_absent(sl_row *row, sl_col column) {
    sl_out *out = out_of(row, column);
    if (out) out->pending = SL_SET_ABSENT;
}

void sl_set_missing_like(sl_row *row, sl_col column, sl_col other) {
    sl_state state = sl_state_of(row, other);
    if (state == SL_NULL) sl_set_null(row, column);
    if (state == SL_ABSENT) sl_set_absent(row, column);
}

void sl_set_kind(sl_row *row, sl_kind kind) {
    if (!((sl_rows_out *)row)->kinds) sl_fail_batch(row->batch, "a kind was set, but open didn't call sl_changes_kinds()");
    row->kind = (uint8_t)kind;
}

void sl_send_to(sl_row *row, uint16_t route) {
    if (route > row->batch->opened->plan.routes.len) sl_fail_batch(row->batch, "a row was sent to a route that open didn't ask for");
    row->route = route;
}

static void more_room(sl_rows_out *out) {
    size_t room = out->room * 2;
    if (out->select) out->select = sl_take_more(&sl_call, out->select, out->room * 4, room * 4, 4);
    if (out->kinds) out->kinds = sl_take_more(&sl_call, out->kinds, out->room, room, 1);
    if (out->routes) out->routes = sl_take_more(&sl_call, out->routes, out->room * 2, room * 2, 2);
    out->room = room;
}

/* Writes an output image: what was set, else what came in. */
static inline void commit(sl_rows_out *out) {
    sl_row *row = &out->row;
    size_t columns = row->batch->opened->target_count;
    for (size_t i = 0; i < columns; i++) sl_out_commit(&row->outs[i], row->views, row->at);
    if (__builtin_expect(out->images == out->room, 0)) more_room(out);
    if (out->select) out->select[out->images] = row->at;
    if (out->kinds) out->kinds[out->images] = row->kind;
    if (out->routes) out->routes[out->images] = row->route;
    out->images++;
}

static void must_select(sl_rows_out *out) {
    if (!out->select) sl_fail_batch(out->row.batch, "a row was dropped or copied, but open didn't call sl_selects()");
}

void sl_emit(sl_row *row) {
    must_select((sl_rows_out *)row);
    commit((sl_rows_out *)row);
}

sl_keep sl_reject(sl_row *row, sl_col column, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_vreject(row->batch, row->at, column, format, arguments);
    va_end(arguments);
    return REFUSED;
}

sl_keep sl_fail(sl_row *row, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_vfail(row->batch, format, arguments);
    va_end(arguments);
    return REFUSED;
}

static void one(sl_rows_out *out, uint32_t at) {
    sl_row *row = &out->row;
    size_t columns = row->batch->opened->target_count;
    row->at = at;
    row->kind = row->kinds[at];
    row->route = 0;
    for (size_t i = 0; i < columns; i++) row->outs[i].pending = SL_UNSET;
    sl_keep keep = sluice_plugin.row(row->batch->opened->self, row);
    if (__builtin_expect(keep == SL_KEEP, 1)) {
        commit(out);
    } else if (keep >= 0) {
        must_select(out);
        while (keep-- > 0 && !row->batch->failed.data) commit(out);
    } else {
        /* One value per output image; those of a refused one are ignored. */
        for (size_t i = 0; i < columns; i++) row->outs[i].pending = SL_SET_NULL;
        commit(out);
    }
}

/* The columns that have grown, as the contract has them. */
static void finish(sl_rows_out *out) {
    sl_batch *batch = out->row.batch;
    for (size_t i = 0; i < batch->opened->target_count; i++) {
        const sl_column written = {.write = (uint16_t)(i + 1)};
        sl_put(batch, &written, out->row.outs[i].view, out->images);
    }
    if (out->select) sl_select_images(batch, out->select, out->images);
    if (out->kinds) sl_turn_into(batch, out->kinds, out->images);
    if (out->routes) sl_send_images(batch, out->routes, out->images);
}

void sl_rows(sl_batch *batch) {
    const sl_opened *opened = batch->opened;
    sl_rows_out out = {.row = {.views = batch->views, .kinds = batch->kinds, .batch = batch}, .room = batch->images + 1};
    if (opened->plan.selects) out.select = sl_take(&sl_call, out.room * 4, 4);
    if (opened->plan.changes_kinds) out.kinds = sl_take(&sl_call, out.room, 1);
    if (opened->plan.routes.len) out.routes = sl_take(&sl_call, out.room * 2, 2);
    out.row.outs = sl_take(&sl_call, opened->target_count * sizeof *out.row.outs, 16);
    for (size_t i = 0; i < opened->target_count; i++) sl_out_start(&out.row.outs[i], batch, &opened->targets[i]);
    for (uint32_t at = 0; at < batch->images && !batch->failed.data; at++) one(&out, at);
    if (!batch->failed.data) finish(&out);
}
