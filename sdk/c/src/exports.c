/* What a component exports. Left out where a plugin says `raw = yes` and answers the contract's functions by itself. */
#include "internal.h"

void exports_sluice_plugin_transformer_describe(exports_sluice_plugin_transformer_info_t *ret) { sl_describe(ret); }

bool exports_sluice_plugin_transformer_open(uint32_t handle, sl_table_info *table, sl_string *config, sl_option_plan *ret,
                                            sl_config_errors *err) {
    return sl_open_table(handle, table, sl_from_wire(*config), ret, err);
}

void exports_sluice_plugin_transformer_close(uint32_t handle) { sl_close_table(handle); }

bool exports_sluice_plugin_transformer_transform(uint32_t handle, sl_wire_batch *batch, sl_wire_output *ret, sl_string *err) {
    return sl_transform(handle, batch, ret, err);
}
