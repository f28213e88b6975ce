/* The configuration, read key by key; every mistake is kept with its place. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const char *kind_word(const sl_json *value) {
    switch (value->kind) {
    case SL_JSON_TEXT: return "text";
    case SL_JSON_NUMBER: return "a number";
    case SL_JSON_FALSE: case SL_JSON_TRUE: return "true or false";
    case SL_JSON_LIST: return "a list";
    case SL_JSON_MAPPING: return "a mapping";
    default: return "nothing";
    }
}

/* A node that stands for what isn't there: its mistakes are about `parent`. */
static sl_json *placeholder(sl_config *parent, const char *key) {
    sl_json *value = sl_take_zeroed(sl_now, sizeof *value);
    value->parent = (sl_json *)parent;
    value->table = parent->table;
    value->key = sl_text_of(key);
    return value;
}

sl_config *sl_at(sl_config *mapping, const char *key) {
    ((sl_json *)mapping)->seen = true;
    sl_json *found = NULL;
    if (mapping->kind == SL_JSON_MAPPING)
        for (sl_json *part = mapping->first; part; part = part->next)
            if (sl_is(part->key, key)) {
                part->seen = true;
                found = part;
            }
    if (found) return found;
    /* Remembered, so that a key that is nearly this one is told so. */
    sl_json *value = placeholder(mapping, key);
    if (mapping->kind == SL_JSON_MAPPING && mapping->table) {
        sl_json *own = (sl_json *)mapping;
        value->seen = true;
        if (own->last) own->last->next = value;
        else own->first = value;
        own->last = value;
    }
    return value;
}

static sl_json *wrong(sl_config *found, const char *expected) {
    sl_mistake(found->table, found, "write %s here, not %s", expected, kind_word(found));
    return placeholder(found->parent ? found->parent : found, "");
}

/* What has to be there, of that kind. */
static sl_config *need(sl_config *mapping, const char *key, sl_json_kind kind, const char *words) {
    sl_config *found = sl_at(mapping, key);
    if (found->kind == kind) return found;
    if (found->kind != SL_JSON_MISSING) return wrong(found, words);
    /* A mapping that is missing itself has been told of. */
    if (mapping->kind == SL_JSON_MAPPING) sl_mistake(mapping->table, mapping, "`%s` is missing", key);
    return found;
}

sl_config *sl_need_text(sl_config *mapping, const char *key) { return need(mapping, key, SL_JSON_TEXT, "text"); }
sl_config *sl_need_list(sl_config *mapping, const char *key) { return need(mapping, key, SL_JSON_LIST, "a list"); }
sl_config *sl_need_mapping(sl_config *mapping, const char *key) { return need(mapping, key, SL_JSON_MAPPING, "a mapping"); }

sl_text sl_config_text(sl_config *mapping, const char *key, const char *otherwise) {
    if (!otherwise) return sl_need_text(mapping, key)->text;
    sl_config *found = sl_at(mapping, key);
    if (found->kind == SL_JSON_TEXT) return found->text;
    if (found->kind != SL_JSON_MISSING) wrong(found, "text");
    return sl_text_of(otherwise);
}

int64_t sl_config_int(sl_config *mapping, const char *key, int64_t otherwise) {
    sl_config *found = sl_at(mapping, key);
    int64_t value;
    if (sl_json_int(found, &value)) return value;
    if (found->kind == SL_JSON_NUMBER) sl_mistake(found->table, found, "write a whole number here that 64 bits have room for");
    else if (found->kind != SL_JSON_MISSING) wrong(found, "a whole number");
    return otherwise;
}

bool sl_config_flag(sl_config *mapping, const char *key, bool otherwise) {
    sl_config *found = sl_at(mapping, key);
    if (found->kind == SL_JSON_TRUE) return true;
    if (found->kind == SL_JSON_FALSE) return false;
    if (found->kind != SL_JSON_MISSING) wrong(found, "true or false");
    return otherwise;
}

/* `WORD`; did you mean `X`? allowed: A, B */
static sl_text unknown_word(sl_text text, const sl_text *words, size_t count) {
    sl_text hint = sl_did_you_mean(text, words, count), all = {"", 0};
    for (size_t i = 0; i < count; i++) all = sl_format("%.*s%s%.*s", SL_F(all), i ? ", " : "", SL_F(words[i]));
    return sl_format("`%.*s`; %.*s%sallowed: %.*s", SL_F(text), SL_F(hint), hint.size ? " " : "", SL_F(all));
}

int sl_config_word(sl_config *mapping, const char *key, const char *const *words, int otherwise) {
    sl_config *found = sl_at(mapping, key);
    if (found->kind == SL_JSON_MISSING) return otherwise;
    if (found->kind != SL_JSON_TEXT) {
        wrong(found, "text");
        return otherwise;
    }
    size_t count = 0;
    for (; words[count]; count++)
        if (sl_is(found->text, words[count])) return (int)count;
    sl_text *all = sl_alloc(count * sizeof *all);
    for (size_t i = 0; i < count; i++) all[i] = sl_text_of(words[i]);
    sl_text unknown = unknown_word(found->text, all, count);
    sl_mistake(found->table, found, "%.*s", SL_F(unknown));
    return otherwise;
}

sl_config *sl_fixed(sl_config *at, const char *text) {
    sl_json *value = sl_take_zeroed(sl_now, sizeof *value);
    *value = (sl_json){.kind = SL_JSON_TEXT, .key = at->key, .text = sl_text_of(text), .parent = at->parent, .table = at->table};
    return value;
}

sl_config *sl_item(sl_config *list, size_t at) {
    sl_json *part = list->kind == SL_JSON_LIST || list->kind == SL_JSON_MAPPING ? list->first : NULL;
    while (part && at--) part = part->next;
    if (!part) return placeholder(list, "");
    part->seen = true;
    ((sl_json *)list)->seen = true;
    return part;
}

sl_text sl_item_text(sl_config *list, size_t at) {
    sl_config *item = sl_item(list, at);
    if (item->kind == SL_JSON_TEXT) return item->text;
    if (item->kind != SL_JSON_MISSING) wrong(item, "text");
    return (sl_text){"", 0};
}

void sl_find_unseen(sl_table *table, sl_config *config) {
    /* Down and along, without recursion: what was looked into is looked through. */
    const sl_json *value = config;
    while (value) {
        const sl_json *down = value->seen && value->kind >= SL_JSON_LIST ? value->first : NULL;
        if (value->kind == SL_JSON_MAPPING && value->seen) {
            size_t count = 0, known = 0;
            bool any = false;
            for (const sl_json *part = value->first; part; part = part->next) count++, any |= part->seen;
            sl_text *names = sl_alloc((count + 1) * sizeof *names);
            for (const sl_json *part = value->first; part; part = part->next)
                if (part->seen) names[known++] = part->key;
            for (const sl_json *part = value->first; part && (any || value == config); part = part->next)
                if (!part->seen) {
                    sl_text unknown = unknown_word(part->key, names, known);
                    sl_mistake(table, part, "unknown key %.*s", SL_F(unknown));
                }
        }
        if (down) {
            value = down;
            continue;
        }
        while (value != config && !value->next) value = value->parent;
        value = value == config ? NULL : value->next;
    }
}

sl_text sl_pointer_to(sl_arena *arena, sl_config *at) {
    size_t size = 0;
    for (const sl_json *part = at; part && part->parent; part = part->parent) size += 2 * part->key.size + 24;
    char *end = (char *)sl_take(arena, size + 1, 1) + size, *to = end;
    /* From its end to its beginning. */
    for (const sl_json *part = at; part && part->parent; part = part->parent) {
        if (part->parent->kind == SL_JSON_LIST) {
            size_t place = 0;
            for (const sl_json *other = part->parent->first; other && other != part; other = other->next) place++;
            do *--to = (char)('0' + place % 10);
            while (place /= 10);
        } else {
            for (size_t i = part->key.size; i-- > 0;) {
                char c = part->key.data[i];
                *--to = c == '~' ? '0' : c == '/' ? '1' : c;
                if (c == '~' || c == '/') *--to = '~';
            }
        }
        *--to = '/';
    }
    return (sl_text){to, (size_t)(end - to)};
}

/* Names longer than this have no neighbours. */
#define NAME_MAX 64

/* Letters that were left out, added, mistaken, or swapped with their neighbour. */
static size_t distance(sl_text a, sl_text b) {
    size_t rows[3][NAME_MAX + 1];
    for (size_t j = 0; j <= b.size; j++) rows[0][j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            size_t cost = above[j - 1] + (a.data[i - 1] != b.data[j - 1]);
            if (above[j] + 1 < cost) cost = above[j] + 1;
            if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1;
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1] && before[j - 2] + 1 < cost)
                cost = before[j - 2] + 1;
            row[j] = cost;
        }
    }
    return rows[a.size % 3][b.size];
}

sl_text sl_did_you_mean(sl_text text, const sl_text *candidates, size_t count) {
    size_t nearest = SIZE_MAX, best = 0;
    for (size_t i = 0; i < count && text.size <= NAME_MAX; i++) {
        if (candidates[i].size > NAME_MAX) continue;
        size_t far = distance(text, candidates[i]);
        if (far <= 1 + candidates[i].size / 4 && far < nearest) nearest = far, best = i;
    }
    return nearest == SIZE_MAX ? (sl_text){"", 0} : sl_format("did you mean `%.*s`?", SL_F(candidates[best]));
}
