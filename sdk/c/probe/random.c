/* Answers that are spoilt by chance, the same for the same seed: bytes that no other language would let through. */
#include <string.h>

#include "probe.h"

static uint64_t state;

static uint32_t any(void) { /* splitmix64 */
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 16);
}

static uint32_t below(uint32_t end) { return end ? any() % end : 0; }

/* A number that is likely to be wrong, or nearly right. */
static uint32_t number(uint32_t rows, uint32_t now) {
    switch (below(12)) {
    case 0: return 0;
    case 1: return rows;
    case 2: return rows + 1;
    case 3: return rows - 1;
    case 4: return rows * 2;
    case 5: return now + 1;
    case 6: return now - 1;
    case 7: return UINT32_MAX;
    case 8: return INT32_MAX;
    case 9: return (uint32_t)__builtin_wasm_memory_size(0) << 16;
    case 10: return below(64);
    default: return any();
    }
}

/* A length that there may be room for. */
static size_t length(uint32_t rows) { return below(8) ? rows + below(5) - 2 : below(4096); }

static void *noise(size_t size, uint32_t end) {
    uint8_t *bytes = sl_alloc(size + 16);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)below(end);
    return bytes;
}

/* Mostly ascending numbers. */
static uint32_t *numbers(size_t count, uint32_t step) {
    uint32_t *all = sl_alloc((count + 1) * sizeof *all), at = 0;
    for (size_t i = 0; i < count; i++) {
        all[i] = at;
        at = below(40) ? at + below(step + 1) : any();
    }
    return all;
}

static void spoil_column(sl_wire_column *column, uint32_t rows) {
    uint32_t *words = (uint32_t *)&column->data.val;
    sluice_plugin_types_strings_t *text = &column->data.val.strings;
    size_t count = length(rows);
    switch (below(9)) {
    case 0: column->index = below(3) ? below(30) : any(); break;
    case 1: column->state = (sl_contract_list_u8_t){noise(count, below(2) ? 3 : 256), count}; break;
    case 2: column->state.len = number(rows, (uint32_t)column->state.len); break;
    case 3: column->data.tag = (uint8_t)(below(3) ? below(9) : any()); break;
    case 4: {
        size_t word = below(4);
        words[word] = number(rows, words[word]);
        break;
    }
    case 5: text->offsets = (sl_contract_list_u32_t){numbers(count, 8), count}; break;
    case 6: {
        size_t size = below(2) ? length(rows) : length(rows * 8);
        text->data = (sl_string){noise(size, below(2) ? 128 : 256), size};
        break;
    }
    case 7: /* values of another size than the type has */
        column->data.tag = (uint8_t)below(9);
        column->data.val.ints = (sl_contract_list_s64_t){noise(count * 16, 256), count};
        break;
    default: { /* offsets that nearly fit, over a text that is one */
        size_t size = below(200);
        column->data.tag = below(2) ? SL_STRINGS : SL_BLOBS;
        text->data = (sl_string){noise(size, 128), size};
        text->offsets = (sl_contract_list_u32_t){numbers(rows + 1, (uint32_t)(size / (rows + 1)) * 2), rows + 1};
        if (below(4)) text->offsets.ptr[rows] = (uint32_t)size;
    }
    }
}

static void spoil_rejects(const probe *probe, sl_wire_output *output, uint32_t rows) {
    size_t count = below(6);
    output->rejects.ptr = sl_alloc((count + 1) * sizeof *output->rejects.ptr);
    output->rejects.len = count;
    for (size_t i = 0; i < count; i++) {
        size_t size = below(64);
        sl_wire_reject *reject = &output->rejects.ptr[i];
        reject->row = below(3) ? below(rows) : number(rows, 0);
        reject->column.is_some = below(2);
        reject->column.val = below(3) ? below((uint32_t)probe->columns) : any();
        reject->message = (sl_string){noise(size, below(3) ? 128 : 256), size};
        if (!below(20)) memset(&reject->column.is_some, (int)any(), 1);
        if (!below(20)) reject->message.len = number(rows, 0);
    }
}

/* A few bytes of the answer itself. */
static void scribble(sl_wire_output *output) {
    bool columns = output->columns.len && below(2);
    uint8_t *over = columns ? (uint8_t *)output->columns.ptr : (uint8_t *)output;
    uint32_t size = columns ? (uint32_t)(output->columns.len * sizeof *output->columns.ptr) : sizeof *output;
    for (uint32_t i = 1 + below(8); i; i--) over[below(size)] = (uint8_t)any();
}

static void spoil_once(const probe *probe, sl_wire_output *output, uint32_t rows) {
    size_t count = length(rows);
    switch (below(12)) {
    case 0: output->columns.len = number(rows, (uint32_t)output->columns.len); break;
    case 1: output->select = (sl_contract_option_list_u32_t){true, {numbers(count, 2), count}}; break;
    case 2: { /* a select that is one */
        uint32_t *select = sl_alloc((count + 1) * sizeof *select);
        for (size_t i = 0; i < count; i++) select[i] = (uint32_t)(i * rows / (count ? count : 1));
        output->select = (sl_contract_option_list_u32_t){true, {select, count}};
        break;
    }
    case 3: output->kinds = (sl_contract_list_u8_t){noise(count, below(3) ? 5 : 256), count}; break;
    case 4: {
        uint16_t *routes = noise(count * 2, below(3) ? 2 : 256);
        if (below(3))
            for (size_t i = 0; i < count; i++) routes[i] &= 1;
        output->routes = (sl_contract_list_u16_t){routes, count};
        break;
    }
    case 5: spoil_rejects(probe, output, rows); break;
    case 6: scribble(output); break;
    case 7:
        if (output->columns.len && output->columns.len < 64) output->columns.ptr[0] = output->columns.ptr[below((uint32_t)output->columns.len)];
        break;
    default:
        /* Only what is there: the count may have been spoilt before. */
        if (output->columns.len && output->columns.len < 64) spoil_column(&output->columns.ptr[below((uint32_t)output->columns.len)], rows);
    }
}

/* Something else that is right, or nearly: what the host lets through has to be looked at, too. */
static void change_once(const probe *probe, sl_wire_output *output, uint32_t rows) {
    sl_wire_column *column = &output->columns.ptr[below((uint32_t)output->columns.len)];
    switch (below(5)) {
    case 0: column->state = (sl_contract_list_u8_t){noise(rows, 3), rows}; break;
    case 1: { /* a column less */
        *column = output->columns.ptr[--output->columns.len];
        break;
    }
    case 2: output->routes = (sl_contract_list_u16_t){noise(rows * 2, 1), rows}; break;
    case 3:
        if (column->data.tag == SL_STRINGS) column->data.val.strings.data.ptr = noise(column->data.val.strings.data.len, 128);
        else if (column->data.tag == SL_BLOBS) column->data.val.blobs.data.ptr = noise(column->data.val.blobs.data.len, 256);
        else if (column->data.tag == SL_INTS) column->data.val.ints.ptr = noise(rows * 8, 256);
        break;
    default: {
        sl_wire_reject *reject = output->rejects.ptr = sl_alloc(sizeof *reject);
        size_t size = below(40);
        *reject = (sl_wire_reject){below(rows), {below(2), below((uint32_t)probe->columns)}, {noise(size, 128), size}};
        output->rejects.len = 1;
    }
    }
}

bool spoil_at_random(const probe *probe, const sl_wire_batch *batch, sl_wire_output *output, sl_string *error) {
    state = probe->seed;
    if (!below(40)) {
        size_t size = below(2000);
        *error = (sl_string){noise(size, below(2) ? 128 : 256), size};
        return false;
    }
    if (!below(3)) {
        for (uint32_t times = 1 + below(3); times; times--) change_once(probe, output, batch->rows);
        return true;
    }
    for (uint32_t times = 1 + below(4); times; times--) spoil_once(probe, output, batch->rows);
    return true;
}
