#include "check.h"

static const sl_type TYPES[] = {SL_INT64, SL_TEXT, SL_DATE};

static void everything(sl_table *table, sl_config *config) {
    cols[0] = sl_edit(table, sl_need_text(config, "column"));
    cols[1] = sl_add(table, sl_at(config, "to"), "new", SL_INT64);
    sl_need_list(config, "list");
    sl_need_mapping(config, "mapping");
    static const char *const MODES[] = {"fast", "slow", NULL};
    CHECK(sl_config_word(config, "mode", MODES, -1) == -1);
    CHECK(sl_config_int(config, "count", 3) == 3);
    CHECK(sl_config_flag(config, "flag", true));
    CHECK_TEXT(sl_config_text(config, "text", "other"), "other");
}

static void all_mistakes_at_once(void) {
    on_open = everything;
    CHECK(!open_with("{\"column\": \"bb\", \"list\": {}, \"mode\": \"fats\", \"count\": 1.5, \"flag\": \"x\", \"text\": 5, \"kolumn\": 1}", TYPES, 3));
    CHECK_TEXT(told(),
               "/column: table `t` has no column `bb`; did you mean `b`?\n"
               "/list: write a list here, not a mapping\n"
               ": `mapping` is missing\n"
               "/mode: `fats`; did you mean `fast`? allowed: fast, slow\n"
               "/count: write a whole number here that 64 bits have room for\n"
               "/flag: write true or false here, not text\n"
               "/text: write text here, not a number\n"
               "/kolumn: unknown key `kolumn`; did you mean `column`? allowed: column, list, mode, count, flag, text, to, mapping\n");
    CHECK(!open_with("[]", TYPES, 3));
    CHECK_TEXT(told(), ": write a mapping here\n");
    CHECK(!open_with("{\"a\"", TYPES, 3));
    CHECK_TEXT(told(), ": the configuration is not JSON: `:` is expected, at byte 4\n");
}

static void nested(sl_table *table, sl_config *config) {
    (void)table;
    sl_config *list = sl_need_list(config, "a/b");
    for (size_t i = 0; i < list->size; i++) sl_config_int(sl_item(list, i), "n~", 0);
    sl_at(config, "whole"); /* a mapping that is meant as a whole */
}

static void places_are_pointers(void) {
    on_open = nested;
    CHECK(!open_with("{\"a/b\": [{\"n~\": 1}, {\"n~\": true, \"m\": 0}], \"whole\": {\"x\": 1}}", TYPES, 3));
    CHECK_TEXT(told(), "/a~1b/1/n~0: write a whole number here, not true or false\n/a~1b/1/m: unknown key `m`; allowed: n~\n");
}

static void clashes(sl_table *table, sl_config *config) {
    sl_add(table, sl_at(config, "x"), "a", SL_TEXT);
    sl_rename(table, sl_fixed(sl_at(config, "y"), "b"), sl_text_of("c"));
    sl_col edited = sl_edit(table, sl_fixed(config, "c"));
    sl_edit(table, sl_fixed(config, "c"));
    sl_must_be(table, edited, config, SL_TEXT, SL_JSON);
    sl_rename(table, sl_fixed(config, "b"), sl_text_of("d"));
    sl_drop(table, sl_fixed(config, "zzzz"));
}

static void what_can_not_be(void) {
    on_open = clashes;
    CHECK(!open_with("", TYPES, 3));
    CHECK_TEXT(told(),
               ": column `c` is written twice\n"
               ": column `c` is date, but must be text or json\n"
               ": column `b` is renamed twice\n"
               ": table `t` has no column `zzzz`; it has: a, b, c\n"
               "/x: there would be two columns `a`: the table has already one of that name\n"
               "/y: there would be two columns `c`: the table has already one of that name\n");
}

static void whole(sl_table *table, sl_config *config) {
    sl_col b = sl_read(table, sl_fixed(config, "b")), c = sl_retype(table, sl_fixed(config, "c"), SL_TEXT);
    CHECK(sl_read(table, sl_fixed(config, "b"))->read == b->read && b->type == SL_TEXT && c->index == 2);
    sl_col added = sl_add(table, config, "n", SL_BOOLEAN);
    sl_computed_from(table, added, &b, 1);
    sl_never_null(table, added);
    sl_not_deterministic(table, c);
    sl_rename(table, sl_fixed(config, "a"), sl_text_of("id"));
    CHECK(sl_route(table, "x") == 1 && sl_route(table, "y") == 2 && sl_route(table, "x") == 1);
    CHECK_TEXT(sl_place_of(table, sl_text_of("b")).table, "t");
}

static void a_plan(void) {
    on_open = whole;
    CHECK(open_with("null", TYPES, 3) && plan.is_some);
    const sl_plan *p = &plan.val;
    CHECK(p->read.len == 2 && p->read.ptr[0] == 1 && p->read.ptr[1] == 2 && p->before_images && !p->selects && !p->joined_text);
    CHECK(p->write.len == 2 && p->write.ptr[0].index == 2 && p->write.ptr[0].column.type == SL_TEXT && !p->write.ptr[0].deterministic);
    CHECK(p->write.ptr[0].from.len == 2 && p->write.ptr[1].from.len == 1 && p->write.ptr[1].index == 3 && !p->write.ptr[1].column.nullable);
    CHECK(p->rename.len == 1 && p->rename.ptr[0].f0 == 0 && p->routes.len == 2);
    sl_start_over(&sl_call);
}

void open_tests(void) {
    all_mistakes_at_once();
    places_are_pointers();
    what_can_not_be();
    a_plan();
}
