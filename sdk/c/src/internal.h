/* What the parts of the SDK know of each other. */
#ifndef SLUICE_INTERNAL_H
#define SLUICE_INTERNAL_H

#include "sl_contract.h"
#include "sluice.h"

/* ---- arena.c: memory that is given back all at once ---- */

typedef struct sl_arena {
    struct sl_chunk *chunks;
    uint8_t *at, *end; /* what is left of the newest chunk */
} sl_arena;

/* What a call is given by the host, and what it answers: forgotten when the host has read the answer. */
extern sl_arena sl_call;
/* Where sl_alloc takes from: sl_call, or the table that is being opened. */
extern sl_arena *sl_now;

/* Never NULL. `align` is a power of two. */
void *sl_take(sl_arena *arena, size_t size, size_t align);
/* More room for what was taken, in place if nothing has been taken since. */
void *sl_take_more(sl_arena *arena, void *old, size_t old_size, size_t size, size_t align);
void *sl_take_zeroed(sl_arena *arena, size_t size);
void sl_give_back(sl_arena *arena);  /* all of it, to the system */
void sl_start_over(sl_arena *arena); /* all of it, and keeps the room */

/* ---- names of generated types ---- */

typedef sl_contract_string_t sl_string;
typedef sluice_plugin_types_column_t sl_wire_column;
typedef exports_sluice_plugin_transformer_plan_t sl_plan;
typedef exports_sluice_plugin_transformer_option_plan_t sl_option_plan;
typedef exports_sluice_plugin_transformer_written_t sl_written;
typedef exports_sluice_plugin_transformer_batch_t sl_wire_batch;
typedef exports_sluice_plugin_transformer_output_t sl_wire_output;
typedef exports_sluice_plugin_transformer_row_error_t sl_wire_reject;
typedef exports_sluice_plugin_transformer_table_info_t sl_table_info;
typedef exports_sluice_plugin_transformer_list_config_error_t sl_config_errors;
typedef exports_sluice_plugin_transformer_config_error_t sl_config_error;

static inline sl_string sl_wire(sl_text text) { return (sl_string){(uint8_t *)text.data, text.size}; }
static inline sl_text sl_from_wire(sl_string text) { return (sl_text){(const char *)text.ptr, text.len}; }
sl_text sl_vformat(sl_arena *arena, const char *format, va_list arguments);

/* ---- config.c, json.c ---- */

/* `did you mean `X`?` for the nearest of the candidates, or an empty text where none is near. */
sl_text sl_did_you_mean(sl_text text, const sl_text *candidates, size_t count);
/* The place of a part as a JSON Pointer. */
sl_text sl_pointer_to(sl_arena *arena, sl_config *at);
/* The mistakes that are left: keys that nobody looked at. */
void sl_find_unseen(sl_table *table, sl_config *config);
sl_json *sl_json_read(sl_arena *arena, sl_text text, sl_table *table, const char **why);

/* ---- table.c ---- */

/* A growing list. */
typedef struct sl_list {
    void *items;
    size_t count, room;
} sl_list;
/* Room for one more, zeroed. */
void *sl_push(sl_arena *arena, sl_list *list, size_t size);

/* What is known of a written column. */
typedef struct sl_target {
    uint32_t index;
    sl_type type;
    sl_text name;
    uint16_t replaces; /* where the column that it replaces stands in a batch, from 1; 0: it is new */
    bool same_type;
    const uint16_t *from; /* where the columns that it is computed from stand in a batch, from 1 */
    size_t from_count;
} sl_target;

/* An opened table. */
typedef struct sl_opened {
    uint32_t handle;
    sl_arena arena;
    void *self;
    sl_plan plan;
    const sl_type *read_types; /* by sl_column.read - 1 */
    sl_target *targets;
    size_t target_count;
} sl_opened;

struct sl_table {
    sl_arena *arena;
    const sl_table_info *info;
    sl_plan plan;
    sl_list reads;    /* of uint32_t */
    sl_list writes;   /* of sl_write */
    sl_list renames;  /* of sl_contract_tuple2_u32_string_t */
    sl_list drops;    /* of uint32_t */
    sl_list routes;   /* of sl_string */
    sl_list made;     /* of sl_made: names that the plugin makes */
    sl_list mistakes; /* of sl_config_error */
    bool skipped;
};

void sl_table_start(sl_table *table, sl_arena *arena, const sl_table_info *info);
/* The plan into `opened`, or false: there are mistakes. */
bool sl_table_finish(sl_table *table, sl_opened *opened);
int sl_shape_of(sl_type type);

/* ---- batch.c, rows.c, out.c ---- */

struct sl_batch {
    const sl_opened *opened;
    size_t images;
    const uint8_t *kinds;
    sl_view *views;
    sl_wire_output *output;
    sl_list columns; /* of sl_wire_column */
    sl_list rejects; /* of sl_wire_reject */
    sl_text failed;  /* data NULL: it hasn't */
};

void sl_batch_start(sl_batch *batch, const sl_opened *opened, const sl_wire_batch *from, sl_wire_output *output);
void sl_vfail(sl_batch *batch, const char *format, va_list arguments);
void sl_vreject(sl_batch *batch, size_t image, sl_col column, const char *format, va_list arguments);
/* Every image through the plugin's row(). */
void sl_rows(sl_batch *batch);

/* A written column as it grows, one output image after the other. */
typedef struct sl_out {
    const sl_target *target;
    sl_batch *batch;
    uint8_t pending, width;
    sl_view view;
    size_t rows, room;       /* output images so far, and room for how many */
    size_t end, data_room;   /* of text and bytes: the end of the value at hand, and room for how many bytes */
} sl_out;

enum { SL_UNSET, SL_SET_VALUE, SL_SET_NULL, SL_SET_ABSENT, SL_REPEAT };

void sl_out_start(sl_out *out, sl_batch *batch, const sl_target *target);
void sl_out_commit(sl_out *out, const sl_view *views, uint32_t image);
/* Where a value of that shape goes; NULL: it is a mistake, which has been told. */
void *sl_out_slot(sl_out *out, int shape);
void sl_out_bytes(sl_out *out, int shape, const void *data, size_t size);

/* ---- component.c: what exports.c exports ---- */

void sl_describe(exports_sluice_plugin_transformer_info_t *info);
bool sl_open_table(uint32_t handle, const sl_table_info *info, sl_text config, sl_option_plan *plan, sl_config_errors *errors);
void sl_close_table(uint32_t handle);
bool sl_transform(uint32_t handle, const sl_wire_batch *batch, sl_wire_output *output, sl_string *error);
sl_opened *sl_opened_as(uint32_t handle);

#endif
