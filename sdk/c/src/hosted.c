/* What a plugin may ask its host for. A component imports only what is called, since what isn't is left out when it is linked. */
#include "internal.h"

void sl_log(sl_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    sl_string message = sl_wire(sl_vformat(&sl_call, format, arguments));
    va_end(arguments);
    sluice_plugin_log_log((sluice_plugin_log_level_t)level, &message);
}

static sluice_plugin_crypto_blobs_t to_wire(sl_blobs blobs) {
    static uint32_t none[1] = {0};
    if (!blobs.offsets) blobs.offsets = none, blobs.count = 0;
    return (sluice_plugin_crypto_blobs_t){{blobs.offsets, blobs.count + 1}, {blobs.data, blobs.offsets[blobs.count]}};
}

static sl_blobs of_wire(const sluice_plugin_crypto_blobs_t *blobs) {
    return (sl_blobs){blobs->data.ptr, blobs->offsets.ptr, blobs->offsets.len ? blobs->offsets.len - 1 : 0};
}

static sluice_plugin_crypto_place_t place_to_wire(sl_place place) {
    return (sluice_plugin_crypto_place_t){sl_wire(place.pipeline), sl_wire(place.table), sl_wire(place.column)};
}

static bool done(bool good, const sl_string *error, sl_text *why) {
    if (!good && why) *why = sl_from_wire(*error);
    return good;
}

bool sl_seal(sl_text key, sl_place place, sl_blobs values, sl_blobs *sealed, sl_text *why) {
    sl_string name = sl_wire(key), error;
    sluice_plugin_crypto_place_t at = place_to_wire(place);
    sluice_plugin_crypto_blobs_t given = to_wire(values), made;
    bool good = sluice_plugin_crypto_seal(&name, &at, &given, &made, &error);
    if (good) *sealed = of_wire(&made);
    return done(good, &error, why);
}

bool sl_open(sl_text key, sl_place place, sl_blobs sealed, sl_blobs *values, const uint32_t **failed, size_t *failures, sl_text *why) {
    sl_string name = sl_wire(key), error;
    sluice_plugin_crypto_place_t at = place_to_wire(place);
    sluice_plugin_crypto_blobs_t given = to_wire(sealed);
    sluice_plugin_crypto_opened_t made;
    bool good = sluice_plugin_crypto_open(&name, &at, &given, &made, &error);
    if (good) {
        *values = of_wire(&made.values);
        *failed = made.failed.ptr;
        *failures = made.failed.len;
    }
    return done(good, &error, why);
}

bool sl_hash(sl_text key, sl_text domain, sl_blobs values, sl_blobs *hashes, sl_text *why) {
    sl_string name = sl_wire(key), of = sl_wire(domain), error;
    sluice_plugin_crypto_blobs_t given = to_wire(values), made;
    bool good = sluice_plugin_crypto_hash(&name, &of, &given, &made, &error);
    if (good) *hashes = of_wire(&made);
    return done(good, &error, why);
}
