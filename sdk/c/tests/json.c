#include "check.h"

/* A copy that ends where its memory ends, so that a look beyond it is noticed. */
static const sl_json *parse(const char *text, size_t size, const char **why) {
    char *exact = malloc(size ? size : 1);
    if (size) memcpy(exact, text, size);
    const sl_json *value = sl_json_parse((sl_text){exact, size}, why);
    static char *before;
    free(before);
    before = exact;
    return value;
}

static void is_none(const char *text, const char *says) {
    const char *why = NULL;
    CHECK(!parse(text, strlen(text), &why));
    CHECK(why && strstr(why, says));
    if (!why || !strstr(why, says)) fprintf(stderr, "  %s: %s\n", text, why ? why : "taken");
}

static const sl_json *of(const char *text) {
    const char *why = NULL;
    const sl_json *value = parse(text, strlen(text), &why);
    CHECK(value);
    if (!value) fprintf(stderr, "  %s: %s\n", text, why);
    return value ? value : sl_json_item(&(const sl_json){0}, 0);
}

static void what_is_json(void) {
    static const char *const GOOD[] = {
        "null", " true ", "false", "0", "-0", "-1.5e+10", "1E5", "\"\"", "[]", "{}", "[[],{},[{}]]", "\t\r\n[1 , 2]\n",
        "{\"a\":{\"b\":[null,\"\\u0000\"]}}", "\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"", "1234567890123456789012345678901234567890",
    };
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) of(GOOD[i]);
    static const char *const BAD[][2] = {
        {"", "a value is expected"}, {" ", "a value is expected"}, {"nul", "a value"}, {"nulll", "nothing may follow"}, {"True", "a value"},
        {"01", "begin with 0"}, {"-", "a digit"}, {"+1", "a value"}, {".5", "a value"}, {"1.", "a digit"}, {"1e", "a digit"}, {"1e+", "a digit"},
        {"0x10", "nothing may follow"}, {"NaN", "a value"}, {"Infinity", "a value"}, {"[1,]", "a value"}, {"[,1]", "a value"},
        {"[1 2]", "`,`"}, {"[1", "`,`"}, {"[", "a value"}, {"{", "a key"}, {"{\"a\"}", "`:`"}, {"{\"a\":}", "a value"}, {"{\"a\":1,}", "a key"},
        {"{a:1}", "a key"}, {"{\"a\":1 \"b\":2}", "`,`"}, {"]", "a value"}, {"[}", "a value"}, {"{]", "a key"}, {"[1}", "`,`"},
        {"\"", "no end"}, {"\"a", "no end"}, {"\"\\", "no end"}, {"\"\\\"", "no end"}, {"\"\\x\"", "escape"}, {"\"\\u12\"", "escape"},
        {"\"\\u12g4\"", "escape"}, {"\"\\ud800\"", "escape"}, {"\"\\udc00\"", "escape"}, {"\"\\ud800\\u0041\"", "escape"}, {"\"\\ud800x\"", "escape"},
        {"\"a\nb\"", "control character"}, {"\"\xff\"", "UTF-8"}, {"\"\xc3\"", "UTF-8"}, {"\"\xed\xa0\x80\"", "UTF-8"}, {"\"\xc0\x80\"", "UTF-8"},
        {"'a'", "a value"}, {"[1]//", "nothing may follow"}, {"{\"\\q\":1}", "escape"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) is_none(BAD[i][0], BAD[i][1]);
    CHECK(parse("[1]\0", 4, NULL) == NULL);
}

static void what_it_says(void) {
    const sl_json *value = of("{\"a\": [1, -2.50, \"x\\n\\\"\\u00e9\\ud83d\\ude00\\/\"], \"b\": true, \"a/b\": null, \"b\": false}");
    CHECK(value->kind == SL_JSON_MAPPING && value->size == 4);
    const sl_json *list = sl_json_get(value, "a");
    CHECK(list->kind == SL_JSON_LIST && list->size == 3);
    int64_t number = 0;
    double real = 0;
    CHECK(sl_json_int(sl_json_item(list, 0), &number) && number == 1);
    CHECK(!sl_json_int(sl_json_item(list, 1), &number) && sl_json_double(sl_json_item(list, 1), &real) && real == -2.5);
    CHECK_TEXT(sl_json_item(list, 1)->text, "-2.50");
    CHECK_TEXT(sl_json_item(list, 2)->text, "x\n\"\xc3\xa9\xf0\x9f\x98\x80/");
    CHECK(sl_json_item(list, 3)->kind == SL_JSON_MISSING);
    CHECK(sl_json_get(value, "b")->kind == SL_JSON_FALSE); /* the last one */
    CHECK(sl_json_get(value, "a/b")->kind == SL_JSON_NULL && sl_json_get(value, "c")->kind == SL_JSON_MISSING);
    CHECK(sl_json_get(list, "a")->kind == SL_JSON_MISSING && sl_json_item(value, 1)->kind == SL_JSON_TRUE);
    CHECK(of("\"a\\u0000b\"")->text.size == 3);
}

static void how_deep(void) {
    size_t depth = SL_JSON_DEPTH_MAX, far = 1000000;
    char *text = malloc(far);
    memset(text, '[', far);
    const char *why;
    CHECK(!parse(text, far, &why) && strstr(why, "too deeply"));
    memset(text + depth, ']', depth);
    CHECK(parse(text, depth * 2, NULL));
    memset(text, '[', depth + 1);
    memset(text + depth + 1, ']', depth + 1);
    CHECK(!parse(text, depth * 2 + 2, &why) && strstr(why, "too deeply"));
    free(text);
}

/* Whatever bytes come: an answer, and nothing beyond them is looked at. */
static void any_bytes(void) {
    static const char GOOD[] = "{\"a\": [1, -2.5e3, \"x\\n\\u00e9\\ud83d\\ude00\"], \"b\": {\"c\": null, \"d\": [true, false, [], {}]}}";
    static const char LIKELY[] = "{}[]\",:\\u0d8ce+-.tfn \n\xc3\xa9\xff";
    uint32_t seed = 1;
    size_t taken = 0;
    for (int round = 0; round < 200000; round++) {
        char text[sizeof GOOD];
        size_t size = sizeof GOOD - 1;
        memcpy(text, GOOD, size);
        for (int i = round % 4; i > 0; i--) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = seed >> 16;
            seed = seed * 1664525u + 1013904223u;
            text[at % size] = LIKELY[(seed >> 16) % (sizeof LIKELY - 1)];
        }
        if (round % 5 == 0) size = (seed >> 20) % size;
        const char *why = NULL;
        const sl_json *value = parse(text, size, &why);
        taken += value != NULL;
        if (!value && !why) CHECK(why);
        sl_start_over(&sl_call);
    }
    CHECK(taken > 1000 && taken < 190000);
}

void json_tests(void) {
    what_is_json();
    what_it_says();
    how_deep();
    any_bytes();
}
