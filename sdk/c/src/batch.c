/* A plugin as a function of whole columns. */
#include <string.h>

#include "internal.h"

static sl_view view_of(const sl_wire_column *column) {
    sl_view view = {.state = column->state.len ? column->state.ptr : NULL, .shape = column->data.tag};
    switch (column->data.tag) {
    case SL_STRINGS:
        view.offsets = column->data.val.strings.offsets.ptr;
        view.any = column->data.val.strings.data.ptr;
        break;
    case SL_BLOBS:
        view.offsets = column->data.val.blobs.offsets.ptr;
        view.any = column->data.val.blobs.data.ptr;
        break;
    default: view.any = column->data.val.bools.ptr; /* a list is a list */
    }
    return view;
}

void sl_batch_start(sl_batch *batch, const sl_opened *opened, const sl_wire_batch *from, sl_wire_output *output) {
    memset(batch, 0, sizeof *batch);
    memset(output, 0, sizeof *output);
    batch->opened = opened;
    batch->images = from->rows;
    batch->kinds = from->kinds.ptr;
    batch->output = output;
    batch->views = sl_take(&sl_call, (from->columns.len + 1) * sizeof *batch->views, 16);
    batch->views[0] = (sl_view){.shape = SL_NO_SHAPE};
    for (size_t i = 0; i < from->columns.len; i++) {
        const sl_wire_column *column = &from->columns.ptr[i];
        batch->views[i + 1] = view_of(column);
        static uint32_t none[1];
        if (from->rows == 0) batch->views[i + 1].offsets = none;
        else if (column->data.tag == SL_STRINGS && column->data.val.strings.offsets.len == 0) sl_panic("text came joined");
    }
}

void sl_vfail(sl_batch *batch, const char *format, va_list arguments) {
    /* The first mistake is the one that counts. */
    if (!batch->failed.data) batch->failed = sl_vformat(&sl_call, format, arguments);
}

void sl_fail_batch(sl_batch *batch, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_vfail(batch, format, arguments);
    va_end(arguments);
}

size_t sl_images(const sl_batch *batch) { return batch->images; }
const uint8_t *sl_kinds(const sl_batch *batch) { return batch->kinds; }

sl_view sl_view_of(sl_batch *batch, sl_col column) {
    if (!column->read) sl_fail_batch(batch, "a column was read that open only added");
    return batch->views[column->read];
}

static const sl_target *target_of(sl_batch *batch, sl_col column) {
    if (column->write) return &batch->opened->targets[column->write - 1];
    sl_fail_batch(batch, "a column was put that open only read: ask for it by sl_edit() or sl_add()");
    return NULL;
}

static size_t width_of(int shape) {
    static const uint8_t WIDTHS[] = {1, 8, 8, 8, 4, 8, 0, 0, 16};
    return WIDTHS[shape];
}

sl_view sl_new_view(sl_batch *batch, sl_col column, size_t images, size_t bytes) {
    const sl_target *target = target_of(batch, column);
    int shape = target ? sl_shape_of(target->type) : SL_STRINGS;
    sl_view view = {.shape = (uint8_t)shape};
    if (width_of(shape)) {
        view.any = sl_take_zeroed(&sl_call, images * width_of(shape));
    } else {
        view.offsets = sl_take_zeroed(&sl_call, (images + 1) * sizeof *view.offsets);
        view.any = sl_take(&sl_call, bytes, 16);
    }
    return view;
}

uint8_t *sl_new_states(sl_batch *batch, size_t images) {
    (void)batch;
    return sl_take_zeroed(&sl_call, images);
}

void sl_put(sl_batch *batch, sl_col column, sl_view values, size_t images) {
    const sl_target *target = target_of(batch, column);
    if (!target) return;
    if (values.shape != sl_shape_of(target->type)) {
        sl_fail_batch(batch, "column `%.*s` is %s and was put as another type", SL_F(target->name), sl_type_word(target->type));
        return;
    }
    sl_wire_column *put = sl_push(&sl_call, &batch->columns, sizeof *put);
    put->index = target->index;
    put->state = (sl_contract_list_u8_t){values.state, values.state ? images : 0};
    put->data.tag = values.shape;
    switch (values.shape) {
    case SL_STRINGS:
        put->data.val.strings.offsets = (sl_contract_list_u32_t){values.offsets, images + 1};
        put->data.val.strings.data = (sl_string){values.bytes, values.offsets[images]};
        break;
    case SL_BLOBS:
        put->data.val.blobs.offsets = (sl_contract_list_u32_t){values.offsets, images + 1};
        put->data.val.blobs.data = (sl_contract_list_u8_t){values.bytes, values.offsets[images]};
        break;
    case SL_UUIDS: put->data.val.uuids = (sl_contract_list_u8_t){values.bytes, images * 16}; break;
    default: put->data.val.bools = (sl_contract_list_u8_t){values.bytes, images}; /* a list is a list */
    }
}

void sl_select_images(sl_batch *batch, uint32_t *select, size_t images) {
    if (!batch->opened->plan.selects) sl_fail_batch(batch, "a row was dropped or copied, but open didn't call sl_selects()");
    batch->output->select.is_some = true;
    batch->output->select.val = (sl_contract_list_u32_t){select, images};
}

void sl_turn_into(sl_batch *batch, uint8_t *kinds, size_t images) {
    if (!batch->opened->plan.changes_kinds) sl_fail_batch(batch, "a kind was set, but open didn't call sl_changes_kinds()");
    batch->output->kinds = (sl_contract_list_u8_t){kinds, images};
}

void sl_send_images(sl_batch *batch, uint16_t *routes, size_t images) {
    batch->output->routes = (sl_contract_list_u16_t){routes, images};
}

void sl_vreject(sl_batch *batch, size_t image, sl_col column, const char *format, va_list arguments) {
    sl_wire_reject *reject = sl_push(&sl_call, &batch->rejects, sizeof *reject);
    reject->row = (uint32_t)image;
    reject->column.is_some = column != NULL;
    if (column) reject->column.val = column->index;
    reject->message = sl_wire(sl_vformat(&sl_call, format, arguments));
}

void sl_reject_image(sl_batch *batch, size_t image, sl_col column, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_vreject(batch, image, column, format, arguments);
    va_end(arguments);
}
