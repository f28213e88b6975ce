/* Texts and numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

sl_text sl_vformat(sl_arena *arena, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    if (size < 0) sl_panic("a format makes no sense");
    char *text = sl_take(arena, (size_t)size + 1, 1);
    vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    sl_text made = {text, (size_t)size};
    /* A part of a text may end within a character; the host takes UTF-8 only. */
    if (!sl_is_utf8(made))
        for (size_t i = 0; i < made.size; i++)
            if ((unsigned char)text[i] >= 0x80) text[i] = '?';
    return made;
}

sl_text sl_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_text made = sl_vformat(sl_now, format, arguments);
    va_end(arguments);
    return made;
}

sl_text sl_text_of(const char *text) { return (sl_text){text, strlen(text)}; }
bool sl_equal(sl_text a, sl_text b) { return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0); }
bool sl_is(sl_text text, const char *word) { return sl_equal(text, sl_text_of(word)); }

bool sl_starts(sl_text text, const char *with) {
    size_t size = strlen(with);
    return size == 0 || (text.size >= size && memcmp(text.data, with, size) == 0);
}

bool sl_ends(sl_text text, const char *with) {
    size_t size = strlen(with);
    return size == 0 || (text.size >= size && memcmp(text.data + text.size - size, with, size) == 0);
}

size_t sl_find(sl_text text, const char *what) {
    size_t size = strlen(what);
    if (size == 0) return 0;
    for (size_t at = 0; at + size <= text.size; at++) {
        const char *found = memchr(text.data + at, what[0], text.size - size - at + 1);
        if (!found) return SL_NOWHERE;
        at = (size_t)(found - text.data);
        if (memcmp(found, what, size) == 0) return at;
    }
    return SL_NOWHERE;
}

sl_text sl_slice(sl_text text, size_t from, size_t to) {
    if (to > text.size) to = text.size;
    if (from >= to) return (sl_text){text.data, 0};
    return (sl_text){text.data + from, to - from};
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

sl_text sl_trim(sl_text text) {
    while (text.size && is_space(text.data[text.size - 1])) text.size--;
    while (text.size && is_space(text.data[0])) text.data++, text.size--;
    return text;
}

static sl_text shifted(sl_text text, char from, char to, int by) {
    char *made = sl_take(sl_now, text.size, 1);
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        made[i] = c >= from && c <= to ? (char)(c + by) : c;
    }
    return (sl_text){made, text.size};
}

sl_text sl_lower(sl_text text) { return shifted(text, 'A', 'Z', 'a' - 'A'); }
sl_text sl_upper(sl_text text) { return shifted(text, 'a', 'z', 'A' - 'a'); }

/* How many bytes the character has that begins here; 0: it is none. */
static size_t character(const uint8_t *at, size_t left) {
    uint8_t first = at[0];
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < size) return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    /* Longer than needed, half of a pair, or beyond the last one. */
    if (first == 0xe0 && at[1] < 0xa0) return 0;
    if (first == 0xed && at[1] > 0x9f) return 0;
    if (first == 0xf0 && at[1] < 0x90) return 0;
    if (first == 0xf4 && at[1] > 0x8f) return 0;
    return size;
}

bool sl_is_utf8(sl_text text) {
    const uint8_t *at = (const uint8_t *)text.data;
    size_t left = text.size;
    while (left) {
        uint64_t eight;
        while (left >= 8 && (memcpy(&eight, at, 8), !(eight & 0x8080808080808080u))) at += 8, left -= 8;
        if (!left) break;
        size_t size = character(at, left);
        if (!size) return false;
        at += size;
        left -= size;
    }
    return true;
}

/* The digits of a whole number, and its sign. */
static bool whole(sl_text text, bool *negative, uint64_t *value) {
    *negative = text.size && text.data[0] == '-';
    if (text.size && (text.data[0] == '-' || text.data[0] == '+')) text.data++, text.size--;
    if (!text.size) return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint64_t digit = (uint64_t)(unsigned char)text.data[i] - '0';
        if (digit > 9) return false;
        /* 64 bits have room for any 19 digits; multiplication that looks for overflow is slow here. */
        if (i >= 19 && sum > (UINT64_MAX - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

bool sl_to_int64(sl_text text, int64_t *value) {
    bool negative;
    uint64_t size;
    if (!whole(text, &negative, &size) || size > (uint64_t)INT64_MAX + negative) return false;
    *value = negative ? (int64_t)(0 - size) : (int64_t)size;
    return true;
}

bool sl_to_uint64(sl_text text, uint64_t *value) {
    bool negative;
    uint64_t size;
    if (!whole(text, &negative, &size) || (negative && size)) return false;
    *value = size;
    return true;
}

static size_t digits(sl_text text, size_t at) {
    size_t from = at;
    while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9') at++;
    return at - from;
}

static bool is_finite_decimal(sl_text text) {
    size_t at = text.size && (text.data[0] == '-' || text.data[0] == '+'), some = digits(text, at);
    if (!some) return false;
    at += some;
    if (at < text.size && text.data[at] == '.') {
        some = digits(text, at + 1);
        if (!some) return false;
        at += 1 + some;
    }
    if (at < text.size && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        if (at < text.size && (text.data[at] == '-' || text.data[at] == '+')) at++;
        some = digits(text, at);
        if (!some) return false;
        at += some;
    }
    return at == text.size;
}

bool sl_is_decimal(sl_text text) {
    return is_finite_decimal(text) || sl_is(text, "NaN") || sl_is(text, "Infinity") || sl_is(text, "-Infinity");
}

bool sl_to_double(sl_text text, double *value) {
    if (!is_finite_decimal(text)) return false;
    char *ended = sl_take(sl_now, text.size + 1, 1);
    memcpy(ended, text.data, text.size);
    ended[text.size] = 0;
    *value = strtod(ended, NULL);
    return true;
}
