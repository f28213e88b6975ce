/* What the SDK's own tests share: they run on this machine, without a host. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* How many checks have been made, and how many failed. */
extern int checks, failures;

#define CHECK(condition) \
    do { \
        checks++; \
        if (!(condition)) { \
            failures++; \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        } \
    } while (0)

#define CHECK_TEXT(text, expected) \
    do { \
        sl_text is_ = (text); \
        checks++; \
        if (!sl_is(is_, expected)) { \
            failures++; \
            fprintf(stderr, "%s:%d: `%.*s` instead of `%s`\n", __FILE__, __LINE__, SL_F(is_), expected); \
        } \
    } while (0)

void json_tests(void);
void text_tests(void);
void open_tests(void);
void row_tests(void);
void batch_tests(void);

/* What the tested plugin does: set by a test. */
extern void (*on_open)(sl_table *table, sl_config *config);
extern sl_keep (*on_row)(sl_row *row);
extern sl_col cols[8];

/* Opens the table `t` with these columns (types by number, names in letters: a, b, ...). */
bool open_with(const char *config, const sl_type *types, size_t count);
extern sl_option_plan plan;
extern sl_config_errors mistakes;
/* The mistakes, one a line: `PATH: MESSAGE`. */
sl_text told(void);

#endif
