/* What the parts of the probe know of each other. */
#ifndef PROBE_H
#define PROBE_H

#include "internal.h"

/* The commands: those of the Rust SDK's probe (sdk/rust/probe/src/config.rs), and some that only C can obey. */
#define COMMANDS(X) \
    X(NOTHING, "nothing") X(ECHO, "echo") X(DECLINE, "decline") X(DROP, "drop") X(REJECT, "reject") X(FAN_OUT, "fan-out") \
    X(ROUTE, "route") X(SOFT_DELETE, "soft-delete") X(HISTORY, "history") X(FAIL, "fail") X(CONFIG_ERRORS, "config-errors") \
    X(TRAP, "trap") X(SPIN, "spin") X(ALLOCATE, "allocate") X(RECURSE, "recurse") X(TRAP_AT_OPEN, "trap-at-open") \
    X(SPIN_AT_OPEN, "spin-at-open") X(PLAN_READS_UNKNOWN, "plan-reads-unknown") X(PLAN_READS_TWICE, "plan-reads-twice") \
    X(PLAN_WRITES_UNKNOWN, "plan-writes-unknown") X(PLAN_WRITES_TWICE, "plan-writes-twice") \
    X(PLAN_RENAMES_TO_EXISTING, "plan-renames-to-existing") X(PLAN_DROPS_UNKNOWN, "plan-drops-unknown") \
    X(PLAN_FROM_UNKNOWN, "plan-from-unknown") X(SHORT_COLUMN, "short-column") X(LONG_COLUMN, "long-column") \
    X(WRONG_TYPE, "wrong-type") X(UNDECLARED_COLUMN, "undeclared-column") X(COLUMN_TWICE, "column-twice") X(BAD_STATE, "bad-state") \
    X(SHORT_STATE, "short-state") X(BAD_BOOL, "bad-bool") X(DESCENDING_OFFSETS, "descending-offsets") \
    X(OFFSETS_BEYOND_END, "offsets-beyond-end") X(OFFSETS_IN_CHARACTER, "offsets-in-character") \
    X(FIRST_OFFSET_NOT_ZERO, "first-offset-not-zero") X(JOINED_COUNT, "joined-count") X(DESCENDING_SELECT, "descending-select") \
    X(SELECT_BEYOND_END, "select-beyond-end") X(SELECT_UNDECLARED, "select-undeclared") X(SHORT_KINDS, "short-kinds") \
    X(BAD_KIND, "bad-kind") X(KINDS_UNDECLARED, "kinds-undeclared") X(SHORT_ROUTES, "short-routes") X(BAD_ROUTE, "bad-route") \
    X(REJECT_BEYOND_END, "reject-beyond-end") X(REJECT_UNKNOWN_COLUMN, "reject-unknown-column") \
    X(TOO_MANY_REJECTS, "too-many-rejects") X(LONG_REJECT, "long-reject") X(ALIASED_REJECTS, "aliased-rejects") \
    X(ALIASED_COLUMNS, "aliased-columns") X(HUGE_OUTPUT, "huge-output") \
    /* Only here: what no other language lets through. */ \
    X(INVALID_UTF8, "invalid-utf8") X(INVALID_UTF8_MESSAGE, "invalid-utf8-message") X(LENGTH_BEYOND_MEMORY, "length-beyond-memory") \
    X(POINTER_BEYOND_MEMORY, "pointer-beyond-memory") X(UNALIGNED_LIST, "unaligned-list") X(UNKNOWN_CASE, "unknown-case") \
    X(UNKNOWN_OPTION, "unknown-option") X(ENDLESS_LIST, "endless-list") \
    /* Spoils an answer as `seed` says. */ \
    X(RANDOM, "random")

#define NAMED(name, word) DO_##name,
typedef enum command { COMMANDS(NAMED) DO_COUNT } command;
#undef NAMED

typedef struct probe {
    command command;
    uint32_t times;
    uint64_t seed;
    bool always; /* every row is meant */
    sl_text equals;
    sl_col when, first, version;
    sl_text version_text;
    size_t columns; /* of the table */
} probe;

_Noreturn void spin(void);
_Noreturn void allocate(void);
_Noreturn void recurse(void);

/* Spoils a plan. */
void spoil_plan(const probe *probe, const sl_table_info *table, sl_plan *plan);
/* Spoils an answer. */
void spoil_output(const probe *probe, const sl_wire_batch *batch, sl_wire_output *output);
/* Spoils an answer at random. False: the batch fails, with `error`. */
bool spoil_at_random(const probe *probe, const sl_wire_batch *batch, sl_wire_output *output, sl_string *error);

#endif
