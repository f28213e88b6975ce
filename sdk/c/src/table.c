/* What a plugin says of a table when it is opened: its plan. */
#include <string.h>

#include "internal.h"

/* A written column before the plan is whole. */
typedef struct sl_write {
    sl_written written;
    sl_type was; /* the type of what it replaces */
    bool has_from;
} sl_write;

/* A name that the plugin makes, and the place in the configuration that asked for it. */
typedef struct sl_made {
    sl_text name, path;
} sl_made;

static const char *const WORDS[] = {
    "boolean", "int64", "uint64", "float32", "float64", "decimal", "text", "bytes", "date", "time",
    "timestamp", "timestamptz", "interval", "uuid", "json", "array", "document", "object-id", "enumeration", "extended",
};

const char *sl_type_word(sl_type type) { return (unsigned)type <= SL_EXTENDED ? WORDS[type] : "unknown"; }

int sl_shape_of(sl_type type) {
    switch (type) {
    case SL_BOOLEAN: return SL_BOOLS;
    case SL_INT64: case SL_TIME: return SL_INTS;
    case SL_UINT64: return SL_UINTS;
    case SL_FLOAT32: case SL_FLOAT64: return SL_FLOATS;
    case SL_DATE: return SL_DAYS;
    case SL_TIMESTAMP: case SL_TIMESTAMPTZ: return SL_MICROS;
    case SL_BYTES: case SL_OBJECT_ID: return SL_BLOBS;
    case SL_UUID: return SL_UUIDS;
    default: return SL_STRINGS;
    }
}

void *sl_push(sl_arena *arena, sl_list *list, size_t size) {
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 8;
        list->items = sl_take_more(arena, list->items, list->count * size, room * size, 16);
        list->room = room;
    }
    return memset((uint8_t *)list->items + list->count++ * size, 0, size);
}

static sl_text own(sl_table *table, sl_text text) {
    char *copy = sl_take(table->arena, text.size, 1);
    if (text.size) memcpy(copy, text.data, text.size);
    return (sl_text){copy, text.size};
}

static void keep(sl_table *table, sl_string *text) { *text = sl_wire(own(table, sl_from_wire(*text))); }

void sl_table_start(sl_table *table, sl_arena *arena, const sl_table_info *info) {
    memset(table, 0, sizeof *table);
    table->arena = arena;
    table->plan.before_images = true;
    /* What the host gave is gone after the call; a plugin may keep names as long as the table is open. */
    sl_table_info *kept = sl_take(arena, sizeof *kept, 16);
    *kept = *info;
    keep(table, &kept->database), keep(table, &kept->kind), keep(table, &kept->schema), keep(table, &kept->name);
    size_t size = info->columns.len * sizeof *kept->columns.ptr;
    kept->columns.ptr = sl_take(arena, size, 16);
    if (size) memcpy(kept->columns.ptr, info->columns.ptr, size);
    for (size_t i = 0; i < info->columns.len; i++) keep(table, &kept->columns.ptr[i].name), keep(table, &kept->columns.ptr[i].native);
    table->info = kept;
}

sl_text sl_table_name(const sl_table *table) { return sl_from_wire(table->info->name); }
sl_text sl_table_schema(const sl_table *table) { return sl_from_wire(table->info->schema); }
size_t sl_column_count(const sl_table *table) { return table->info->columns.len; }
sl_text sl_column_name(const sl_table *table, size_t column) { return sl_from_wire(table->info->columns.ptr[column].name); }
sl_type sl_column_type(const sl_table *table, size_t column) { return (sl_type)table->info->columns.ptr[column].type; }
sl_text sl_column_native(const sl_table *table, size_t column) { return sl_from_wire(table->info->columns.ptr[column].native); }
bool sl_column_is_key(const sl_table *table, size_t column) { return table->info->columns.ptr[column].key; }
bool sl_column_is_nullable(const sl_table *table, size_t column) { return table->info->columns.ptr[column].nullable; }
void *sl_table_alloc(sl_table *table, size_t size) { return sl_take_zeroed(table->arena, size); }

static void mistake_at(sl_table *table, sl_text path, sl_text message) {
    sl_config_error *error = sl_push(table->arena, &table->mistakes, sizeof *error);
    error->path = sl_wire(path);
    error->message = sl_wire(message);
}

void sl_mistake(sl_table *table, sl_config *at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_text message = sl_vformat(table->arena, format, arguments);
    va_end(arguments);
    mistake_at(table, sl_pointer_to(table->arena, at), message);
}

/* A column's number; -1: it isn't there, which has been told, with the nearest name. */
static int64_t find(sl_table *table, sl_config *name) {
    if (name->kind != SL_JSON_TEXT) return -1; /* told when it was asked for */
    size_t count = sl_column_count(table);
    sl_text *names = sl_alloc(count * sizeof *names), all = {"", 0};
    for (size_t i = 0; i < count; i++) {
        names[i] = sl_column_name(table, i);
        if (sl_equal(names[i], name->text)) return (int64_t)i;
    }
    sl_text hint = sl_did_you_mean(name->text, names, count), table_name = sl_table_name(table);
    if (!hint.size) {
        for (size_t i = 0; i < count; i++) all = sl_format("%.*s%s%.*s", SL_F(all), i ? ", " : "", SL_F(names[i]));
        hint = sl_format("it has: %.*s", SL_F(all));
    }
    sl_mistake(table, name, "table `%.*s` has no column `%.*s`; %.*s", SL_F(table_name), SL_F(name->text), SL_F(hint));
    return -1;
}

static sl_column *column_of(sl_table *table) {
    sl_column *column = sl_take_zeroed(table->arena, sizeof *column);
    column->type = SL_TEXT;
    return column;
}

static sl_column *read_column(sl_table *table, sl_config *name) {
    sl_column *column = column_of(table);
    int64_t index = find(table, name);
    if (index < 0) return column;
    uint32_t *reads = table->reads.items;
    size_t at = 0;
    while (at < table->reads.count && reads[at] != (uint32_t)index) at++;
    if (at == table->reads.count) *(uint32_t *)sl_push(table->arena, &table->reads, sizeof *reads) = (uint32_t)index;
    column->read = (uint16_t)(at + 1);
    column->index = (uint32_t)index;
    column->type = sl_column_type(table, (size_t)index);
    column->name = sl_column_name(table, (size_t)index);
    return column;
}

sl_col sl_read(sl_table *table, sl_config *name) { return read_column(table, name); }

static sl_col write_column(sl_table *table, sl_config *name, sl_column *column, sl_type type) {
    if (!column->read) return column;
    sl_write *all = table->writes.items;
    for (size_t i = 0; i < table->writes.count; i++)
        if (all[i].written.index == column->index) {
            sl_mistake(table, name, "column `%.*s` is written twice", SL_F(column->name));
            return column;
        }
    const sluice_plugin_types_column_info_t *info = &table->info->columns.ptr[column->index];
    sl_write *write = sl_push(table->arena, &table->writes, sizeof *write);
    write->was = column->type;
    write->written.index = column->index;
    write->written.column = *info;
    write->written.column.type = (uint8_t)type;
    if (type != column->type) write->written.column.native = (sl_string){NULL, 0};
    write->written.deterministic = true;
    column->write = (uint16_t)table->writes.count;
    return column;
}

sl_col sl_edit(sl_table *table, sl_config *name) {
    sl_column *column = read_column(table, name);
    return write_column(table, name, column, column->type);
}

sl_col sl_retype(sl_table *table, sl_config *name, sl_type type) {
    return write_column(table, name, read_column(table, name), type);
}

static void make(sl_table *table, sl_config *at, sl_text name) {
    sl_made *made = sl_push(table->arena, &table->made, sizeof *made);
    *made = (sl_made){name, sl_pointer_to(table->arena, at)};
}

sl_col sl_add(sl_table *table, sl_config *at, const char *name, sl_type type) {
    size_t columns = sl_column_count(table), added = 0;
    sl_write *all = table->writes.items;
    for (size_t i = 0; i < table->writes.count; i++) added += all[i].written.index >= columns;
    sl_column *column = column_of(table);
    column->index = (uint32_t)(columns + added);
    column->type = type;
    column->name = own(table, sl_text_of(name));
    sl_write *write = sl_push(table->arena, &table->writes, sizeof *write);
    write->was = type;
    write->written.index = column->index;
    write->written.column.name = sl_wire(column->name);
    write->written.column.type = (uint8_t)type;
    write->written.column.nullable = true;
    write->written.deterministic = true;
    column->write = (uint16_t)table->writes.count;
    make(table, at, column->name);
    return column;
}

void sl_must_be_one(sl_table *table, sl_col column, sl_config *at, const sl_type *types, size_t count) {
    if (!column->read) return;
    sl_text all = {"", 0};
    for (size_t i = 0; i < count; i++) {
        if (types[i] == column->type) return;
        all = sl_format("%.*s%s%s", SL_F(all), i ? " or " : "", sl_type_word(types[i]));
    }
    sl_mistake(table, at, "column `%.*s` is %s, but must be %.*s", SL_F(column->name), sl_type_word(column->type), SL_F(all));
}

static sl_write *write_of(sl_table *table, sl_col written) {
    return written->write ? (sl_write *)table->writes.items + (written->write - 1) : NULL;
}

void sl_computed_from(sl_table *table, sl_col written, const sl_col *columns, size_t count) {
    sl_write *write = write_of(table, written);
    if (!write) return;
    write->has_from = true;
    write->written.from.ptr = sl_take(table->arena, count * sizeof(uint32_t), 4);
    write->written.from.len = count;
    for (size_t i = 0; i < count; i++) write->written.from.ptr[i] = columns[i]->index;
}

void sl_never_null(sl_table *table, sl_col written) {
    sl_write *write = write_of(table, written);
    if (write) write->written.column.nullable = false;
}

void sl_native(sl_table *table, sl_col written, const char *native) {
    sl_write *write = write_of(table, written);
    if (write) write->written.column.native = sl_wire(own(table, sl_text_of(native)));
}

void sl_not_deterministic(sl_table *table, sl_col written) {
    sl_write *write = write_of(table, written);
    if (write) write->written.deterministic = false;
}

void sl_rename(sl_table *table, sl_config *name, sl_text to) {
    int64_t index = find(table, name);
    if (index < 0) return;
    sl_contract_tuple2_u32_string_t *all = table->renames.items;
    for (size_t i = 0; i < table->renames.count; i++)
        if (all[i].f0 == (uint32_t)index) {
            sl_mistake(table, name, "column `%.*s` is renamed twice", SL_F(name->text));
            return;
        }
    if (!to.size) {
        sl_mistake(table, name, "a column needs a name");
        return;
    }
    sl_text owned = own(table, to);
    sl_contract_tuple2_u32_string_t *rename = sl_push(table->arena, &table->renames, sizeof *rename);
    rename->f0 = (uint32_t)index;
    rename->f1 = sl_wire(owned);
    make(table, name, owned);
}

static bool holds(const sl_list *list, uint32_t index) {
    const uint32_t *all = list->items;
    for (size_t i = 0; i < list->count; i++)
        if (all[i] == index) return true;
    return false;
}

void sl_drop(sl_table *table, sl_config *name) {
    int64_t index = find(table, name);
    if (index >= 0 && !holds(&table->drops, (uint32_t)index))
        *(uint32_t *)sl_push(table->arena, &table->drops, sizeof(uint32_t)) = (uint32_t)index;
}

uint16_t sl_route(sl_table *table, const char *name) {
    sl_text text = sl_text_of(name);
    const sl_string *all = table->routes.items;
    for (size_t i = 0; i < table->routes.count; i++)
        if (sl_equal(sl_from_wire(all[i]), text)) return (uint16_t)(i + 1);
    *(sl_string *)sl_push(table->arena, &table->routes, sizeof(sl_string)) = sl_wire(own(table, text));
    return (uint16_t)table->routes.count;
}

void sl_selects(sl_table *table) { table->plan.selects = true; }
void sl_changes_kinds(sl_table *table) { table->plan.changes_kinds = true; }
void sl_no_before_images(sl_table *table) { table->plan.before_images = false; }
void sl_skip(sl_table *table) { table->skipped = true; }

static bool is_gone(const sl_table *table, uint32_t index) {
    const sl_contract_tuple2_u32_string_t *renames = table->renames.items;
    for (size_t i = 0; i < table->renames.count; i++)
        if (renames[i].f0 == index) return true;
    return holds(&table->drops, index);
}

/* Two columns of one name, at least one of which the plugin made. */
static void find_collisions(sl_table *table) {
    const sl_made *made = table->made.items;
    for (size_t i = 0; i < table->made.count; i++) {
        sl_text name = made[i].name, by = {NULL, 0};
        for (uint32_t column = 0; column < sl_column_count(table) && !by.data; column++)
            if (sl_equal(sl_column_name(table, column), name) && !is_gone(table, column)) by = sl_text_of("the table has already");
        for (size_t other = 0; other < i && !by.data; other++)
            if (sl_equal(made[other].name, name)) by = sl_format("%.*s makes", SL_F(made[other].path));
        if (by.data)
            mistake_at(table, made[i].path, sl_format("there would be two columns `%.*s`: %.*s one of that name", SL_F(name), SL_F(by)));
    }
}

/* Where a table's column stands in a batch, from 1; 0: it isn't read. */
static uint16_t place_of(const sl_table *table, uint32_t index) {
    const uint32_t *reads = table->reads.items;
    for (size_t i = 0; i < table->reads.count; i++)
        if (reads[i] == index) return (uint16_t)(i + 1);
    return 0;
}

static void aim(sl_table *table, sl_target *target, const sl_write *write) {
    const sl_written *written = &write->written;
    target->index = written->index;
    target->type = (sl_type)written->column.type;
    target->name = sl_from_wire(written->column.name);
    target->replaces = place_of(table, written->index);
    target->same_type = write->was == target->type;
    uint16_t *from = sl_take(table->arena, written->from.len * sizeof *from, 2);
    for (size_t i = 0; i < written->from.len; i++) {
        uint16_t place = place_of(table, written->from.ptr[i]);
        if (place) from[target->from_count++] = place;
    }
    target->from = from;
}

bool sl_table_finish(sl_table *table, sl_opened *opened) {
    find_collisions(table);
    if (table->mistakes.count) return false;
    sl_plan *plan = &table->plan;
    plan->read = (sl_contract_list_u32_t){table->reads.items, table->reads.count};
    plan->drop = (sl_contract_list_u32_t){table->drops.items, table->drops.count};
    plan->rename = (sl_contract_list_tuple2_u32_string_t){table->renames.items, table->renames.count};
    plan->routes = (sl_contract_list_string_t){table->routes.items, table->routes.count};
    size_t count = table->writes.count;
    sl_write *writes = table->writes.items;
    plan->write.ptr = sl_take(table->arena, count * sizeof *plan->write.ptr, 16);
    plan->write.len = count;
    opened->targets = sl_take_zeroed(table->arena, count * sizeof *opened->targets);
    opened->target_count = count;
    for (size_t i = 0; i < count; i++) {
        if (!writes[i].has_from) writes[i].written.from = plan->read;
        plan->write.ptr[i] = writes[i].written;
        aim(table, &opened->targets[i], &writes[i]);
    }
    sl_type *types = sl_take(table->arena, table->reads.count * sizeof *types, 16);
    for (size_t i = 0; i < table->reads.count; i++) types[i] = sl_column_type(table, plan->read.ptr[i]);
    opened->read_types = types;
    opened->plan = *plan;
    return true;
}

sl_place sl_place_of(const sl_table *table, sl_text column) {
    sl_text schema = sl_table_schema(table), name = sl_table_name(table);
    return (sl_place){{"", 0}, sl_format("%.*s%s%.*s", SL_F(schema), schema.size ? "." : "", SL_F(name)), sl_format("%.*s", SL_F(column))};
}
