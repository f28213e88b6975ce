/* Memory that is given back all at once: nothing of a batch has to be freed, and taking some costs an addition. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

typedef struct sl_chunk {
    struct sl_chunk *older;
    size_t size;
    _Alignas(16) uint8_t bytes[];
} sl_chunk;

/* What is asked of the system at once. */
#define CHUNK_MIN ((size_t)64 << 10)

sl_arena sl_call;
sl_arena *sl_now = &sl_call;

static void add_chunk(sl_arena *arena, size_t size) {
    if (size < CHUNK_MIN) size = CHUNK_MIN;
    sl_chunk *chunk = size > SIZE_MAX / 2 ? NULL : malloc(sizeof(sl_chunk) + size);
    if (!chunk) sl_panic("out of memory");
    chunk->older = arena->chunks;
    chunk->size = size;
    arena->chunks = chunk;
    arena->at = chunk->bytes;
    arena->end = chunk->bytes + size;
}

void *sl_take(sl_arena *arena, size_t size, size_t align) {
    size_t skip = (size_t)(-(uintptr_t)arena->at) & (align - 1);
    if (__builtin_expect((size_t)(arena->end - arena->at) < skip || (size_t)(arena->end - arena->at) - skip < size, 0)) {
        add_chunk(arena, size);
        skip = 0; /* a chunk is aligned for everything */
    }
    if (!arena->at) add_chunk(arena, size);
    uint8_t *taken = arena->at + skip;
    arena->at = taken + size;
    return taken;
}

void *sl_take_more(sl_arena *arena, void *old, size_t old_size, size_t size, size_t align) {
    uint8_t *from = old;
    if (old && from + old_size == arena->at && (size_t)(arena->end - from) >= size) {
        arena->at = from + size;
        return old;
    }
    void *taken = sl_take(arena, size, align);
    if (old_size) memcpy(taken, old, old_size < size ? old_size : size);
    return taken;
}

void *sl_take_zeroed(sl_arena *arena, size_t size) { return memset(sl_take(arena, size, 16), 0, size); }

void sl_give_back(sl_arena *arena) {
    while (arena->chunks) {
        sl_chunk *older = arena->chunks->older;
        free(arena->chunks);
        arena->chunks = older;
    }
    arena->at = arena->end = NULL;
}

void sl_start_over(sl_arena *arena) {
    if (arena->chunks && arena->chunks->older) {
        /* As much again in one piece: the next batch is likely to be as large. */
        size_t size = 0;
        for (sl_chunk *chunk = arena->chunks; chunk; chunk = chunk->older) size += chunk->size;
        sl_give_back(arena);
        add_chunk(arena, size);
    } else if (arena->chunks) {
        arena->at = arena->chunks->bytes;
    }
}

void *sl_alloc(size_t size) { return sl_take(sl_now, size, 16); }

_Noreturn void sl_panic(const char *why) {
    (void)why; /* in a debugger, and in the code; a component has nowhere to say it */
    __builtin_trap();
}

#ifdef __wasm__
/* What the host puts a call's arguments into. In place of the generated one, which is for callers that free each piece. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (size == 0) return (void *)align;
    return sl_take_more(&sl_call, old, old_size, size, align);
}

/* assert() and abort() without files: a component has none. */
_Noreturn void __assert_fail(const char *what, const char *file, int line, const char *function) {
    (void)file, (void)line, (void)function;
    sl_panic(what);
}
_Noreturn void abort(void) { sl_panic("abort"); }
#endif
