/* Part of sluice.h: what the getters of a row are made of. Nothing here is meant to be used by itself. */
#ifndef SLUICE_INLINE_H
#define SLUICE_INLINE_H

#include <string.h>

/* How values travel: the cases of the contract's column-data. */
enum { SL_BOOLS, SL_INTS, SL_UINTS, SL_FLOATS, SL_DAYS, SL_MICROS, SL_STRINGS, SL_BLOBS, SL_UUIDS, SL_NO_SHAPE };

struct sl_row {
    const sl_view *views; /* by sl_column.read; the first is of no shape */
    uint32_t at;          /* the image at hand */
    uint8_t kind;
    uint16_t route;
    const uint8_t *kinds;
    struct sl_out *outs;  /* by sl_column.write - 1 */
    sl_batch *batch;
};

/* A getter that doesn't fit its column: fails the batch with words. Answers false. */
bool sl_misread(sl_row *row, sl_col column, int shape);

static inline bool sl_has(sl_row *row, sl_col column, int shape) {
    const sl_view *view = &row->views[column->read];
    if (__builtin_expect(view->shape != shape, 0)) return sl_misread(row, column, shape);
    return !view->state || view->state[row->at] == SL_VALUE;
}

static inline sl_state sl_state_of(const sl_row *row, sl_col column) {
    const sl_view *view = &row->views[column->read];
    if (view->shape == SL_NO_SHAPE) return SL_ABSENT;
    return view->state ? (sl_state)view->state[row->at] : SL_VALUE;
}

static inline sl_kind sl_kind_of(const sl_row *row) { return (sl_kind)row->kinds[row->at]; }

static inline bool sl_get_text(sl_row *row, sl_col column, sl_text *value) {
    if (!sl_has(row, column, SL_STRINGS)) return false;
    const sl_view *view = &row->views[column->read];
    uint32_t from = view->offsets[row->at];
    *value = (sl_text){view->text + from, view->offsets[row->at + 1] - from};
    return true;
}

static inline bool sl_get_bytes(sl_row *row, sl_col column, sl_bytes *value) {
    if (!sl_has(row, column, SL_BLOBS)) return false;
    const sl_view *view = &row->views[column->read];
    uint32_t from = view->offsets[row->at];
    *value = (sl_bytes){view->bytes + from, view->offsets[row->at + 1] - from};
    return true;
}

#define SL_GETTER(name, c_type, the_shape, array)                               \
    static inline bool name(sl_row *row, sl_col column, c_type *value) {        \
        if (!sl_has(row, column, the_shape)) return false;                      \
        *value = (c_type)row->views[column->read].array[row->at];               \
        return true;                                                            \
    }
SL_GETTER(sl_get_int64, int64_t, SL_INTS, ints)
SL_GETTER(sl_get_uint64, uint64_t, SL_UINTS, uints)
SL_GETTER(sl_get_double, double, SL_FLOATS, floats)
SL_GETTER(sl_get_bool, bool, SL_BOOLS, bools)
SL_GETTER(sl_get_days, int32_t, SL_DAYS, days)
SL_GETTER(sl_get_micros, int64_t, SL_MICROS, micros)
#undef SL_GETTER

static inline bool sl_get_uuid(sl_row *row, sl_col column, sl_uuid *value) {
    if (!sl_has(row, column, SL_UUIDS)) return false;
    memcpy(value, &row->views[column->read].uuids[row->at], sizeof *value);
    return true;
}

#endif
