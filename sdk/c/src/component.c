/* The opened tables, by the host's handles, and what the host calls. */
#include <string.h>

#include "internal.h"

static sl_arena tables_arena;
static sl_list tables; /* of sl_opened *, NULL where one was closed */

void sl_describe(exports_sluice_plugin_transformer_info_t *info) {
    const char *schema = sluice_plugin.config_schema, *summary = sluice_plugin.summary;
    info->name = sl_wire(sl_text_of(SL_PLUGIN_NAME));
    info->version = sl_wire(sl_text_of(SL_PLUGIN_VERSION));
    info->summary = sl_wire(sl_text_of(summary ? summary : ""));
    info->config_schema = sl_wire(sl_text_of(schema ? schema : "{}"));
}

sl_opened *sl_opened_as(uint32_t handle) {
    sl_opened **all = tables.items;
    for (size_t i = 0; i < tables.count; i++)
        if (all[i] && all[i]->handle == handle) return all[i];
    return NULL;
}

static void remember(sl_opened *opened) {
    sl_opened **all = tables.items;
    for (size_t i = 0; i < tables.count; i++)
        if (!all[i]) {
            all[i] = opened;
            return;
        }
    *(sl_opened **)sl_push(&tables_arena, &tables, sizeof opened) = opened;
}

void sl_close_table(uint32_t handle) {
    sl_opened **all = tables.items;
    for (size_t i = 0; i < tables.count; i++)
        if (all[i] && all[i]->handle == handle) {
            sl_arena arena = all[i]->arena; /* it lies in itself */
            all[i] = NULL;
            sl_give_back(&arena);
            return;
        }
}

static void open_by_plugin(sl_opened *opened, sl_table *table, sl_text config) {
    const char *why;
    sl_json *root = sl_json_read(&opened->arena, config.size ? config : sl_text_of("{}"), table, &why);
    if (!root) {
        sl_mistake(table, NULL, "the configuration is not JSON: %s", why);
        return;
    }
    if (root->kind == SL_JSON_NULL) root->kind = SL_JSON_MAPPING;
    if (root->kind != SL_JSON_MAPPING) {
        sl_mistake(table, root, "write a mapping here");
        return;
    }
    root->seen = true;
    opened->self = sl_take_zeroed(&opened->arena, sluice_plugin.size + 1);
    sluice_plugin.open(opened->self, table, root);
    sl_find_unseen(table, root);
}

bool sl_open_table(uint32_t handle, const sl_table_info *info, sl_text config, sl_option_plan *plan, sl_config_errors *errors) {
    sl_close_table(handle);
    sl_arena arena = {0};
    sl_opened *opened = sl_take_zeroed(&arena, sizeof *opened);
    opened->handle = handle;
    opened->arena = arena;
    sl_table table;
    sl_table_start(&table, &opened->arena, info);
    sl_now = &opened->arena;
    /* Texts of the configuration live as long as the table. */
    char *own = sl_take(&opened->arena, config.size, 1);
    if (config.size) memcpy(own, config.data, config.size);
    open_by_plugin(opened, &table, (sl_text){own, config.size});
    bool good = sl_table_finish(&table, opened);
    sl_now = &sl_call;
    if (good) {
        plan->is_some = !table.skipped;
        if (plan->is_some) plan->val = opened->plan;
    } else {
        /* What is answered outlives the table. */
        errors->len = table.mistakes.count;
        errors->ptr = sl_take(&sl_call, errors->len * sizeof *errors->ptr, 16);
        const sl_config_error *from = table.mistakes.items;
        for (size_t i = 0; i < errors->len; i++) {
            sl_text path = sl_from_wire(from[i].path), message = sl_from_wire(from[i].message);
            errors->ptr[i].path = sl_wire(sl_format("%.*s", SL_F(path)));
            errors->ptr[i].message = sl_wire(sl_format("%.*s", SL_F(message)));
        }
    }
    if (good && !table.skipped) {
        remember(opened);
    } else {
        arena = opened->arena;
        sl_give_back(&arena);
    }
    return good;
}

bool sl_transform(uint32_t handle, const sl_wire_batch *from, sl_wire_output *output, sl_string *error) {
    sl_opened *opened = sl_opened_as(handle);
    if (!opened) {
        *error = sl_wire(sl_format("no table is open as %u", (unsigned)handle));
        return false;
    }
    sl_batch batch;
    sl_batch_start(&batch, opened, from, output);
    if (sluice_plugin.row) sl_rows(&batch);
    else sluice_plugin.batch(opened->self, &batch);
    if (batch.failed.data) {
        *error = sl_wire(batch.failed);
        return false;
    }
    output->columns.ptr = batch.columns.items;
    output->columns.len = batch.columns.count;
    output->rejects.ptr = batch.rejects.items;
    output->rejects.len = batch.rejects.count;
    return true;
}

#ifdef __wasm__
/* The host has read the answer. In place of the generated ones, which free each piece. */
#define AFTER(name) \
    __attribute__((export_name("cabi_post_sluice:plugin/transformer@0.1.0#" #name))) void \
        __wasm_export_exports_sluice_plugin_transformer_##name##_post_return(uint8_t *answer) { \
        (void)answer; \
        sl_start_over(&sl_call); \
    }
AFTER(describe)
AFTER(open)
AFTER(transform)
#endif
