/* Write sluice plugins in C: a function of one row, or of whole columns.
 *
 * A plugin is one `SL_PLUGIN(...)`. `open` is called once per table: it asks for columns and says what becomes of them. Then `row` is called for
 * every row image, or `batch` for every batch of them. README.md beside this folder shows one from zero to a running pipeline.
 *
 * Memory: there is nothing to free. What a row or batch hands out, and what `sl_alloc` gives, lives until the batch is answered; what `open` is
 * given of its configuration, and what `sl_table_alloc` gives, lives as long as the table is open. Out of memory ends the instance.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- values ---- */

/* UTF-8 of a known size. Nothing ends it: it may hold zeros, and may be a part of another text. */
typedef struct sl_text {
    const char *data;
    size_t size;
} sl_text;

/* Bytes of a known size. */
typedef struct sl_bytes {
    const uint8_t *data;
    size_t size;
} sl_bytes;

typedef struct sl_uuid {
    uint8_t bytes[16];
} sl_uuid;

/* The types of columns, and how their values are read and written. Numbers as in the contract. */
typedef enum sl_type {
    SL_BOOLEAN,     /* bool */
    SL_INT64,       /* int64 */
    SL_UINT64,      /* uint64 */
    SL_FLOAT32,     /* double */
    SL_FLOAT64,     /* double */
    SL_DECIMAL,     /* text: digits, or NaN, Infinity, -Infinity; see sl_is_decimal */
    SL_TEXT,        /* text */
    SL_BYTES,       /* bytes */
    SL_DATE,        /* days since 1970-01-01; INT32_MIN and INT32_MAX are the infinities */
    SL_TIME,        /* int64: microseconds since midnight */
    SL_TIMESTAMP,   /* microseconds since 1970-01-01 on a clock without zone; INT64_MIN and INT64_MAX are the infinities */
    SL_TIMESTAMPTZ, /* microseconds since 1970-01-01 UTC; the same infinities */
    SL_INTERVAL,    /* text */
    SL_UUID,        /* uuid */
    SL_JSON,        /* text; see sl_json_parse */
    SL_ARRAY,       /* text */
    SL_DOCUMENT,    /* text */
    SL_OBJECT_ID,   /* bytes: 12 of them */
    SL_ENUMERATION, /* text */
    SL_EXTENDED,    /* text */
} sl_type;

/* Whether there is a value. Absent is not null: the log did not carry it, and the target keeps what it has. */
typedef enum sl_state { SL_VALUE, SL_NULL, SL_ABSENT } sl_state;

/* What an image is. An update has two: as the row was, directly followed by as it is now (which may come alone). */
typedef enum sl_kind { SL_SNAPSHOT, SL_INSERT, SL_BEFORE, SL_AFTER, SL_DELETE } sl_kind;

/* What becomes of an image: how often it goes on. */
typedef int32_t sl_keep;
#define SL_DROP ((sl_keep)0)       /* no further; needs sl_selects */
#define SL_KEEP ((sl_keep)1)       /* with what was set */
#define SL_COPIES(n) ((sl_keep)(n)) /* so often; needs sl_selects */

typedef struct sl_table sl_table;
typedef struct sl_row sl_row;
typedef struct sl_batch sl_batch;
typedef struct sl_json sl_json;

/* A column that was asked for in open. */
typedef struct sl_column {
    uint16_t read;  /* its place in a batch, from 1; 0: not read */
    uint16_t write; /* its place in the answer, from 1; 0: not written */
    uint32_t index; /* its number in the contract */
    sl_type type;   /* of what is read; of an added column, of what is written */
    sl_text name;
} sl_column;
typedef const sl_column *sl_col;

/* The configuration: JSON that knows where it stands, so that a mistake has its place. Never NULL: what isn't there is of kind SL_JSON_MISSING. */
typedef const sl_json sl_config;

/* ---- a plugin ---- */

typedef struct sl_plugin {
    const char *summary;       /* one line for people who choose among plugins */
    const char *config_schema; /* a JSON Schema of the configuration, or NULL */
    size_t size;               /* of the plugin's own struct, one per open table, zeroed: `self` below */
    void (*open)(void *self, sl_table *table, sl_config *config);
    /* One of these two. The answer must depend on the images alone: that is how the host finds a row of the target by its image before the change. */
    sl_keep (*row)(const void *self, sl_row *row);
    void (*batch)(const void *self, sl_batch *batch);
} sl_plugin;

extern const sl_plugin sluice_plugin;
#define SL_PLUGIN(...) const sl_plugin sluice_plugin = {__VA_ARGS__}

/* ---- open: the table ---- */

/* Every mistake is collected, with the place in the configuration (`at`) that it is about, and the user sees all of them at once. A column that
 * isn't there gives an sl_col too; it is never used, because open fails. `name` and `at` come from the configuration (sl_need_text); a name
 * that the plugin knows by itself is sl_fixed(config, "email"). */
sl_col sl_read(sl_table *table, sl_config *name);                       /* reads a column */
sl_col sl_edit(sl_table *table, sl_config *name);                       /* and writes it in place; one that isn't set keeps its value */
sl_col sl_retype(sl_table *table, sl_config *name, sl_type type);       /* and writes it as another type; each value must be set */
sl_col sl_add(sl_table *table, sl_config *at, const char *name, sl_type type); /* adds a column */
/* The column must be of one of these types: sl_must_be(table, column, at, SL_TEXT, SL_JSON). Any other is a mistake. */
#define sl_must_be(table, column, at, ...) \
    sl_must_be_one(table, column, at, (const sl_type[]){__VA_ARGS__}, sizeof((const sl_type[]){__VA_ARGS__}) / sizeof(sl_type))
void sl_must_be_one(sl_table *table, sl_col column, sl_config *at, const sl_type *types, size_t count);
void sl_rename(sl_table *table, sl_config *name, sl_text to);           /* moves no data */
void sl_drop(sl_table *table, sl_config *name);                         /* moves no data */
/* What a written column is computed from, where that isn't everything that is read. Keys and lineage rest on it: leave nothing out. */
void sl_computed_from(sl_table *table, sl_col written, const sl_col *columns, size_t count);
void sl_never_null(sl_table *table, sl_col written);
void sl_native(sl_table *table, sl_col written, const char *native);    /* the source's own type name, for a target of the same kind */
void sl_not_deterministic(sl_table *table, sl_col written);             /* no key or route may rest on it */
uint16_t sl_route(sl_table *table, const char *name);                   /* a further target, for sl_send_to */
void sl_selects(sl_table *table);                                       /* images may be dropped or copied */
void sl_changes_kinds(sl_table *table);                                 /* sl_set_kind may be used */
void sl_no_before_images(sl_table *table);                              /* does without rows as they were before an update */
void sl_skip(sl_table *table);                                          /* not interested in this table */
/* A mistake in the configuration. Say what is allowed. The format is printf's, and sl_text goes by "%.*s" and SL_F(text). */
void sl_mistake(sl_table *table, sl_config *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define SL_F(text) (int)(text).size, (text).data

/* What the table is. Texts live as long as it is open. */
sl_text sl_table_name(const sl_table *table);
sl_text sl_table_schema(const sl_table *table);                         /* empty where the database has none */
size_t sl_column_count(const sl_table *table);
sl_text sl_column_name(const sl_table *table, size_t column);
sl_type sl_column_type(const sl_table *table, size_t column);
sl_text sl_column_native(const sl_table *table, size_t column);         /* the source's own type name */
bool sl_column_is_key(const sl_table *table, size_t column);
bool sl_column_is_nullable(const sl_table *table, size_t column);
const char *sl_type_word(sl_type type);                                 /* the contract's word for it */
void *sl_table_alloc(sl_table *table, size_t size);                     /* zeroed; lives as long as the table is open */

/* ---- open: the configuration ---- */

/* What is wrong or missing is kept as a mistake, and what is answered is empty. A key that nobody looks at is a mistake of whoever wrote it, so
 * look at all of them, also at those that matter only sometimes. */
sl_config *sl_at(sl_config *mapping, const char *key);                  /* whatever stands there; may be missing */
sl_config *sl_need_text(sl_config *mapping, const char *key);           /* text that has to be there */
sl_config *sl_need_list(sl_config *mapping, const char *key);
sl_config *sl_need_mapping(sl_config *mapping, const char *key);
sl_text sl_config_text(sl_config *mapping, const char *key, const char *otherwise); /* NULL: it has to be there */
int64_t sl_config_int(sl_config *mapping, const char *key, int64_t otherwise);
bool sl_config_flag(sl_config *mapping, const char *key, bool otherwise);
/* Which of the words stands there; `otherwise` where there is none. `words` ends with NULL. */
int sl_config_word(sl_config *mapping, const char *key, const char *const *words, int otherwise);
sl_config *sl_fixed(sl_config *at, const char *text);                   /* text that the plugin knows, with a place */
sl_config *sl_item(sl_config *list, size_t at);                         /* of a list or mapping, from 0 */
sl_text sl_item_text(sl_config *list, size_t at);                       /* the same, which has to be text */

/* ---- JSON ---- */

typedef enum sl_json_kind {
    SL_JSON_MISSING, SL_JSON_NULL, SL_JSON_FALSE, SL_JSON_TRUE, SL_JSON_NUMBER, SL_JSON_TEXT, SL_JSON_LIST, SL_JSON_MAPPING,
} sl_json_kind;

/* How deep JSON may be nested. */
#define SL_JSON_DEPTH_MAX 128

struct sl_json {
    sl_json_kind kind;
    bool seen;
    sl_text key;  /* its key, if it is part of a mapping */
    sl_text text; /* of text: what it says; of a number: as it was written */
    size_t size;  /* of a list or mapping: how many parts */
    struct sl_json *first, *last, *next, *parent;
    sl_table *table;
};

/* Reads JSON as RFC 8259 has it, and nothing else. NULL: it is none, and `*why` (if not NULL) says why and where. Lives until the batch is answered. */
const sl_json *sl_json_parse(sl_text text, const char **why);
const sl_json *sl_json_get(const sl_json *mapping, const char *key);    /* the last of that key; kind SL_JSON_MISSING if there is none */
const sl_json *sl_json_item(const sl_json *list, size_t at);            /* walks there: for all parts follow `first` and `next` */
bool sl_json_int(const sl_json *number, int64_t *value);                /* false: not a number, not whole, or no room */
bool sl_json_double(const sl_json *number, double *value);

/* ---- a row ---- */

/* Getters answer what came in, also after a column was set. False: null or absent; sl_state_of tells them apart, and doing nothing passes both
 * on. A getter or setter of another type than the column's is a mistake of the plugin, and fails the batch with words. */
static inline bool sl_get_text(sl_row *row, sl_col column, sl_text *value);   /* and decimal, interval, json, array, document, enumeration, extended */
static inline bool sl_get_int64(sl_row *row, sl_col column, int64_t *value);  /* and time */
static inline bool sl_get_uint64(sl_row *row, sl_col column, uint64_t *value);
static inline bool sl_get_double(sl_row *row, sl_col column, double *value);
static inline bool sl_get_bool(sl_row *row, sl_col column, bool *value);
static inline bool sl_get_days(sl_row *row, sl_col column, int32_t *value);   /* a date */
static inline bool sl_get_micros(sl_row *row, sl_col column, int64_t *value); /* a timestamp or timestamptz */
static inline bool sl_get_bytes(sl_row *row, sl_col column, sl_bytes *value); /* and object ids */
static inline bool sl_get_uuid(sl_row *row, sl_col column, sl_uuid *value);
static inline sl_state sl_state_of(const sl_row *row, sl_col column);
static inline sl_kind sl_kind_of(const sl_row *row);

void sl_set_text(sl_row *row, sl_col column, sl_text value); /* what is not UTF-8 fails the batch with words */
void sl_set_int64(sl_row *row, sl_col column, int64_t value);
void sl_set_uint64(sl_row *row, sl_col column, uint64_t value);
void sl_set_double(sl_row *row, sl_col column, double value);
void sl_set_bool(sl_row *row, sl_col column, bool value);
void sl_set_days(sl_row *row, sl_col column, int32_t value);
void sl_set_micros(sl_row *row, sl_col column, int64_t value);
void sl_set_bytes(sl_row *row, sl_col column, sl_bytes value);
void sl_set_uuid(sl_row *row, sl_col column, sl_uuid value);
void sl_set_null(sl_row *row, sl_col column);
void sl_set_absent(sl_row *row, sl_col column);
void sl_set_missing_like(sl_row *row, sl_col column, sl_col other); /* null or absent if `other` is; else nothing */
void sl_set_kind(sl_row *row, sl_kind kind);                        /* needs sl_changes_kinds */
void sl_send_to(sl_row *row, uint16_t route);                       /* 0 is the default target */
/* Writes an image now, with what has been set so far; a row that did so often ends with SL_DROP. Needs sl_selects. */
void sl_emit(sl_row *row);
/* `return sl_reject(row, column, "why")`: the event becomes a dead letter with the values that it came with. `column` may be NULL. */
sl_keep sl_reject(sl_row *row, sl_col column, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* `return sl_fail(row, "why")`: the batch fails; the host finds the event that caused it, and only that one becomes a dead letter. */
sl_keep sl_fail(sl_row *row, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- a batch ---- */

/* One column of a batch, as arrays with one place per image. What belongs to another type is NULL. */
typedef struct sl_view {
    uint8_t *state;    /* an sl_state each; NULL: every image has a value */
    uint32_t *offsets; /* of text and bytes, one more than images: value i is from offsets[i] to offsets[i + 1] */
    union {            /* 0 or empty where there is no value */
        void *any;
        char *text;
        uint8_t *bytes;
        uint8_t *bools; /* 0 or 1; also bytes */
        int64_t *ints;  /* int64, time */
        uint64_t *uints;
        double *floats; /* float32, float64 */
        int32_t *days;
        int64_t *micros;
        sl_uuid *uuids;
    };
    uint8_t shape; /* which of them */
} sl_view;

size_t sl_images(const sl_batch *batch);
const uint8_t *sl_kinds(const sl_batch *batch); /* an sl_kind each */
/* A column that was read. It may be changed in place, and put into the answer. */
sl_view sl_view_of(sl_batch *batch, sl_col column);
/* Room for a column: zeroed, without states, with `bytes` for the data of text or bytes. */
sl_view sl_new_view(sl_batch *batch, sl_col column, size_t images, size_t bytes);
uint8_t *sl_new_states(sl_batch *batch, size_t images); /* all SL_VALUE, for a view's `state` */
/* A written column, with one value per output image. One that isn't put stays as it is (an added one: null). */
void sl_put(sl_batch *batch, sl_col column, sl_view values, size_t images);
/* Output image k comes from image select[k]; never descending. Needs sl_selects. */
void sl_select_images(sl_batch *batch, uint32_t *select, size_t images);
void sl_turn_into(sl_batch *batch, uint8_t *kinds, size_t images);  /* the kind of each output image; needs sl_changes_kinds */
void sl_send_images(sl_batch *batch, uint16_t *routes, size_t images);
void sl_reject_image(sl_batch *batch, size_t image, sl_col column, const char *format, ...) __attribute__((format(printf, 4, 5)));
void sl_fail_batch(sl_batch *batch, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- text and numbers ---- */

/* Memory until the batch is answered (in open: as long as the table is open); aligned for everything, not zeroed. */
void *sl_alloc(size_t size);
sl_text sl_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
sl_text sl_text_of(const char *text);                    /* of what a zero ends */
bool sl_equal(sl_text a, sl_text b);
bool sl_is(sl_text text, const char *word);
bool sl_starts(sl_text text, const char *with);
bool sl_ends(sl_text text, const char *with);
#define SL_NOWHERE ((size_t)-1)
size_t sl_find(sl_text text, const char *what);          /* where it first stands; SL_NOWHERE */
sl_text sl_slice(sl_text text, size_t from, size_t to);  /* clamped to the text */
sl_text sl_trim(sl_text text);                           /* without ASCII white space at both ends */
sl_text sl_lower(sl_text text);                          /* A to Z only */
sl_text sl_upper(sl_text text);
bool sl_is_utf8(sl_text text);
bool sl_to_int64(sl_text text, int64_t *value);          /* [-+]digits and nothing else */
bool sl_to_uint64(sl_text text, uint64_t *value);
bool sl_to_double(sl_text text, double *value);          /* as a decimal: no spaces, no hexadecimal digits, no `1.` */
bool sl_is_decimal(sl_text text);                        /* [-+]digits[.digits][e[-+]digits], NaN, Infinity, -Infinity */

/* A day of the calendar, also before 1970, and a time of that day. */
typedef struct sl_moment {
    int64_t year;
    int month, day, hour, minute, second, micros;
} sl_moment;
sl_moment sl_moment_of_days(int32_t days);
sl_moment sl_moment_of_micros(int64_t micros);
bool sl_to_days(sl_moment moment, int32_t *days);        /* false: there is no such day, or no room for it */
bool sl_to_micros(sl_moment moment, int64_t *micros);

/* Ends the instance: for what must never be. The event at hand becomes a dead letter; the words are for those who read the code. */
_Noreturn void sl_panic(const char *why);

/* ---- asking the host (the component imports only what is called; the step must be granted it) ---- */

typedef enum sl_level { SL_DEBUG, SL_INFO, SL_WARN, SL_ERROR } sl_level;
/* A line for the engine's log, cut after 1 KiB, 10 a second. `grant: { log: {} }` */
void sl_log(sl_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Byte strings: value i is data[offsets[i]] to data[offsets[i + 1]]. */
typedef struct sl_blobs {
    uint8_t *data;
    uint32_t *offsets;
    size_t count;
} sl_blobs;
/* What sealed values belong to: under another place they do not open. An empty pipeline is the one that the plugin runs in. */
typedef struct sl_place {
    sl_text pipeline, table, column;
} sl_place;
/* `grant: { crypto: { keys: [NAME], ops: [seal, open, hash] } }`. All values of a batch in one call. False: `why` says what is wrong. */
bool sl_seal(sl_text key, sl_place place, sl_blobs values, sl_blobs *sealed, sl_text *why);
/* `failed` are the values that did not open, ascending. */
bool sl_open(sl_text key, sl_place place, sl_blobs sealed, sl_blobs *values, const uint32_t **failed, size_t *failures, sl_text *why);
bool sl_hash(sl_text key, sl_text domain, sl_blobs values, sl_blobs *hashes, sl_text *why); /* HMAC-SHA-256, 32 bytes each */
sl_place sl_place_of(const sl_table *table, sl_text column); /* lives as long as the table is open */

#include "sluice_inline.h"
#endif
