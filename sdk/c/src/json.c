/* JSON as RFC 8259 has it. Nothing recurses: how deep a text is nested costs no stack. */
#include <string.h>

#include "internal.h"

typedef struct parser {
    const char *at, *end, *start;
    sl_arena *arena;
    sl_table *table;
    const char *why;
} parser;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t')) p->at++;
}

static bool fail(parser *p, const char *why) {
    if (!p->why) p->why = sl_format("%s, at byte %zu", why, (size_t)(p->at - p->start)).data;
    return false;
}

static bool word(parser *p, const char *is) {
    size_t size = strlen(is);
    if ((size_t)(p->end - p->at) < size || memcmp(p->at, is, size) != 0) return fail(p, "a value is expected");
    p->at += size;
    return true;
}

/* Digits, at least one. */
static bool digits(parser *p) {
    const char *from = p->at;
    while (p->at < p->end && is_digit(*p->at)) p->at++;
    return p->at > from || fail(p, "a digit is expected");
}

static bool number(parser *p, sl_json *value) {
    const char *from = p->at;
    if (*p->at == '-') p->at++;
    if (p->at < p->end && *p->at == '0') p->at++;
    else if (!digits(p)) return false;
    if (p->at < p->end && is_digit(*p->at)) return fail(p, "a number can't begin with 0");
    if (p->at < p->end && *p->at == '.') {
        p->at++;
        if (!digits(p)) return false;
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        if (!digits(p)) return false;
    }
    value->kind = SL_JSON_NUMBER;
    value->text = (sl_text){from, (size_t)(p->at - from)};
    return true;
}

/* Four hexadecimal digits; -1 if they are none. */
static int32_t unit(parser *p) {
    if (p->end - p->at < 4) return -1;
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = p->at[i];
        int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        code = code * 16 + digit;
    }
    p->at += 4;
    return code;
}

static char *put_character(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* What follows `\`: its place is where `p->at` stands. Answers where the next character goes; NULL: it is nothing. */
static char *escaped(parser *p, char *to) {
    if (p->at == p->end) return NULL;
    char c = *p->at++;
    switch (c) {
    case '"': case '\\': case '/': *to = c; return to + 1;
    case 'b': *to = '\b'; return to + 1;
    case 'f': *to = '\f'; return to + 1;
    case 'n': *to = '\n'; return to + 1;
    case 'r': *to = '\r'; return to + 1;
    case 't': *to = '\t'; return to + 1;
    case 'u': break;
    default: return NULL;
    }
    int32_t code = unit(p);
    if (code >= 0xd800 && code < 0xdc00) { /* the first half of a pair */
        if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u') return NULL;
        p->at += 2;
        int32_t second = unit(p);
        if (second < 0xdc00 || second > 0xdfff) return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (second - 0xdc00);
    } else if (code < 0 || (code >= 0xdc00 && code < 0xe000)) {
        return NULL;
    }
    return put_character(to, (uint32_t)code);
}

static bool string(parser *p, sl_text *value) {
    const char *from = ++p->at;
    bool plain = true;
    const char *end = from;
    while (end < p->end && *end != '"') {
        if ((unsigned char)*end < 0x20) {
            p->at = end;
            return fail(p, "a control character has to be written as \\u00XX");
        }
        if (*end == '\\') {
            plain = false;
            if (++end == p->end) break;
        }
        end++;
    }
    if (end >= p->end) return fail(p, "the text has no end");
    if (plain) {
        *value = (sl_text){from, (size_t)(end - from)};
    } else {
        /* Nothing that is escaped is longer than what it stands for. */
        char *text = sl_take(p->arena, (size_t)(end - from), 1), *to = text;
        while (p->at < end) {
            if (*p->at != '\\') {
                *to++ = *p->at++;
            } else {
                p->at++;
                to = escaped(p, to);
                if (!to) return fail(p, "there is no such escape");
            }
        }
        *value = (sl_text){text, (size_t)(to - text)};
    }
    if (!sl_is_utf8((sl_text){from, (size_t)(end - from)})) return fail(p, "the text is not UTF-8");
    p->at = end + 1;
    return true;
}

/* A value without what is in it: a list or mapping has just begun. */
static bool value_begins(parser *p, sl_json *value) {
    if (p->at == p->end) return fail(p, "a value is expected");
    switch (*p->at) {
    case '{': value->kind = SL_JSON_MAPPING; p->at++; return true;
    case '[': value->kind = SL_JSON_LIST; p->at++; return true;
    case '"': value->kind = SL_JSON_TEXT; return string(p, &value->text);
    case 'n': value->kind = SL_JSON_NULL; return word(p, "null");
    case 't': value->kind = SL_JSON_TRUE; return word(p, "true");
    case 'f': value->kind = SL_JSON_FALSE; return word(p, "false");
    default:
        if (*p->at != '-' && !is_digit(*p->at)) return fail(p, "a value is expected");
        return number(p, value);
    }
}

static sl_json *new_value(parser *p, sl_json *parent) {
    sl_json *value = sl_take_zeroed(p->arena, sizeof *value);
    value->parent = parent;
    value->table = p->table;
    if (parent) {
        if (parent->last) parent->last->next = value;
        else parent->first = value;
        parent->last = value;
        parent->size++;
    }
    return value;
}

static bool is_open(const sl_json *value) { return value->kind == SL_JSON_LIST || value->kind == SL_JSON_MAPPING; }

/* The next part of `within`, with its key. */
static sl_json *part(parser *p, sl_json *within) {
    sl_text key = {NULL, 0};
    skip_space(p);
    if (within->kind == SL_JSON_MAPPING) {
        if (p->at == p->end || *p->at != '"') return fail(p, "a key is expected"), NULL;
        if (!string(p, &key)) return NULL;
        skip_space(p);
        if (p->at == p->end || *p->at != ':') return fail(p, "`:` is expected"), NULL;
        p->at++;
        skip_space(p);
    }
    sl_json *value = new_value(p, within);
    value->key = key;
    return value_begins(p, value) ? value : NULL;
}

static char closes(const sl_json *value) { return value->kind == SL_JSON_LIST ? ']' : '}'; }

sl_json *sl_json_read(sl_arena *arena, sl_text text, sl_table *table, const char **why) {
    parser p = {text.data, text.data + text.size, text.data, arena, table, NULL};
    size_t depth = 0;
    skip_space(&p);
    sl_json *root = new_value(&p, NULL), *open = NULL;
    bool good = value_begins(&p, root);
    if (good && is_open(root)) open = root, depth = 1;
    while (good && open) {
        skip_space(&p);
        if (p.at < p.end && *p.at == closes(open)) {
            p.at++;
            open = open->parent;
            depth--;
            continue;
        }
        if (open->size) {
            if (p.at == p.end || *p.at != ',') {
                good = fail(&p, "`,` or the end of the list or mapping is expected");
                break;
            }
            p.at++;
        }
        sl_json *value = part(&p, open);
        good = value != NULL;
        if (good && is_open(value)) {
            open = value;
            if (++depth > SL_JSON_DEPTH_MAX) good = fail(&p, "it is nested too deeply");
        }
    }
    skip_space(&p);
    if (good && p.at != p.end) good = fail(&p, "nothing may follow the value");
    if (why) *why = p.why;
    return good ? root : NULL;
}

const sl_json *sl_json_parse(sl_text text, const char **why) { return sl_json_read(sl_now, text, NULL, why); }

static const sl_json missing = {.kind = SL_JSON_MISSING};

const sl_json *sl_json_get(const sl_json *mapping, const char *key) {
    const sl_json *found = &missing;
    if (mapping->kind == SL_JSON_MAPPING)
        for (const sl_json *part = mapping->first; part; part = part->next)
            if (sl_is(part->key, key)) found = part;
    return found;
}

const sl_json *sl_json_item(const sl_json *list, size_t at) {
    const sl_json *part = is_open(list) ? list->first : NULL;
    while (part && at--) part = part->next;
    return part ? part : &missing;
}

bool sl_json_int(const sl_json *number, int64_t *value) {
    return number->kind == SL_JSON_NUMBER && sl_to_int64(number->text, value);
}

bool sl_json_double(const sl_json *number, double *value) {
    return number->kind == SL_JSON_NUMBER && sl_to_double(number->text, value);
}
