/* A written column as it grows, one output image after the other. */
#include <string.h>

#include "internal.h"

static const uint8_t WIDTHS[] = {1, 8, 8, 8, 4, 8, 0, 0, 16};

void sl_out_start(sl_out *out, sl_batch *batch, const sl_target *target) {
    memset(out, 0, sizeof *out);
    out->target = target;
    out->batch = batch;
    out->view.shape = (uint8_t)sl_shape_of(target->type);
    out->width = WIDTHS[out->view.shape];
    out->room = batch->images + 1;
    if (out->width) {
        out->view.any = sl_take(&sl_call, out->room * out->width, 16);
        return;
    }
    out->view.offsets = sl_take(&sl_call, (out->room + 1) * sizeof(uint32_t), 16);
    out->view.offsets[0] = 0;
    /* As much as came in, and a little more. */
    const sl_view *was = &batch->views[target->replaces];
    out->data_room = batch->images * 16 + (was->offsets ? was->offsets[batch->images] : 0);
    out->view.any = sl_take(&sl_call, out->data_room, 16);
}

/* Room for one more image. */
static void grow(sl_out *out) {
    size_t room = out->room * 2;
    if (out->width) {
        out->view.any = sl_take_more(&sl_call, out->view.any, out->room * out->width, room * out->width, 16);
    } else {
        out->view.offsets = sl_take_more(&sl_call, out->view.offsets, (out->room + 1) * sizeof(uint32_t), (room + 1) * sizeof(uint32_t), 16);
    }
    if (out->view.state) out->view.state = sl_take_more(&sl_call, out->view.state, out->room, room, 1);
    out->room = room;
}

static const char *const WORDS[] = {"true or false", "an integer", "an unsigned integer", "a float", "a date", "a point in time", "text",
                                    "bytes", "a uuid"};

static bool fits(sl_out *out, int shape) {
    if (__builtin_expect(out->view.shape == shape, 1)) return true;
    sl_fail_batch(out->batch, "column `%.*s` is %s and can't be set to %s", SL_F(out->target->name), sl_type_word(out->target->type),
                  WORDS[shape]);
    return false;
}

void *sl_out_slot(sl_out *out, int shape) {
    if (!fits(out, shape)) return NULL;
    if (out->rows == out->room) grow(out);
    out->pending = SL_SET_VALUE;
    return out->view.bytes + out->rows * out->width;
}

static inline void put_bytes(sl_out *out, const void *data, size_t size) {
    size_t start = out->view.offsets[out->rows], end = start + size;
    if (__builtin_expect(end > out->data_room, 0)) {
        size_t room = end + end / 2 + 64;
        out->view.any = sl_take_more(&sl_call, out->view.any, out->data_room, room, 16);
        out->data_room = room;
    }
    if (size) memcpy(out->view.bytes + start, data, size);
    out->end = end;
}

void sl_out_bytes(sl_out *out, int shape, const void *data, size_t size) {
    if (!fits(out, shape)) return;
    put_bytes(out, data, size);
    out->pending = SL_SET_VALUE;
}

/* Ends the image whose value stands in its place. */
static inline void end_image(sl_out *out, sl_state state) {
    if (!out->width) out->view.offsets[out->rows + 1] = (uint32_t)out->end;
    if (__builtin_expect(state != SL_VALUE && !out->view.state, 0)) {
        out->view.state = sl_take(&sl_call, out->room, 1);
        memset(out->view.state, SL_VALUE, out->rows);
    }
    if (out->view.state) out->view.state[out->rows] = (uint8_t)state;
    out->rows++;
}

static void put_nothing(sl_out *out, sl_state state) {
    if (out->width) memset(out->view.bytes + out->rows * out->width, 0, out->width);
    else out->end = out->view.offsets[out->rows];
    end_image(out, state);
}

/* What came in, or for a new column nothing. */
static void put_input(sl_out *out, const sl_view *views, uint32_t image) {
    const sl_target *target = out->target;
    if (!target->replaces) {
        /* Null, unless what it is computed from isn't known. */
        sl_state state = SL_NULL;
        for (size_t i = 0; i < target->from_count; i++) {
            const sl_view *from = &views[target->from[i]];
            if (from->state && from->state[image] == SL_ABSENT) state = SL_ABSENT;
        }
        put_nothing(out, state);
        return;
    }
    const sl_view *was = &views[target->replaces];
    if (was->state && was->state[image] != SL_VALUE) {
        put_nothing(out, (sl_state)was->state[image]);
        return;
    }
    if (!target->same_type) {
        sl_fail_batch(out->batch, "column `%.*s` got another type but no value", SL_F(target->name));
        return;
    }
    if (out->width) memcpy(out->view.bytes + out->rows * out->width, was->bytes + (size_t)image * out->width, out->width);
    else put_bytes(out, was->bytes + was->offsets[image], was->offsets[image + 1] - was->offsets[image]);
    end_image(out, SL_VALUE);
}

/* The value of the output image before, once more. */
static void repeat(sl_out *out) {
    size_t last = out->rows - 1;
    sl_state state = out->view.state ? (sl_state)out->view.state[last] : SL_VALUE;
    if (out->width) {
        memcpy(out->view.bytes + out->rows * out->width, out->view.bytes + last * out->width, out->width);
    } else {
        uint32_t from = out->view.offsets[last], size = out->view.offsets[out->rows] - from;
        size_t start = out->view.offsets[out->rows], end = start + size;
        if (end > out->data_room) {
            size_t room = end * 2;
            out->view.any = sl_take_more(&sl_call, out->view.any, out->data_room, room, 16);
            out->data_room = room;
        }
        if (size) memcpy(out->view.bytes + start, out->view.bytes + from, size);
        out->end = end;
    }
    end_image(out, state);
}

void sl_out_commit(sl_out *out, const sl_view *views, uint32_t image) {
    if (__builtin_expect(out->rows == out->room, 0)) grow(out);
    switch (out->pending) {
    case SL_SET_VALUE: end_image(out, SL_VALUE); break;
    case SL_SET_NULL: put_nothing(out, SL_NULL); break;
    case SL_SET_ABSENT: put_nothing(out, SL_ABSENT); break;
    case SL_REPEAT: repeat(out); return;
    default: put_input(out, views, image); return;
    }
    out->pending = SL_REPEAT;
}
