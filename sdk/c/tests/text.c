#include <math.h>

#include "check.h"

static sl_text t(const char *text) { return sl_text_of(text); }

static void texts(void) {
    CHECK_TEXT(sl_trim(t(" \t\na b\r ")), "a b");
    CHECK_TEXT(sl_trim(t("  ")), "");
    CHECK_TEXT(sl_lower(t("\xc3\x84 Ab-Z")), "\xc3\x84 ab-z"); /* letters of ASCII only */
    CHECK_TEXT(sl_upper(t("aZ\xc3\xa4")), "AZ\xc3\xa4");
    CHECK(sl_find(t("a@b@c"), "@") == 1 && sl_find(t("aab"), "ab") == 1 && sl_find(t("aa"), "ab") == SL_NOWHERE && sl_find(t(""), "a") == SL_NOWHERE);
    CHECK(sl_find(t("abc"), "c") == 2 && sl_find(t("abc"), "") == 0 && sl_find(t("ab"), "abc") == SL_NOWHERE);
    CHECK(sl_starts(t("abc"), "ab") && !sl_starts(t("a"), "ab") && sl_ends(t("abc"), "bc") && !sl_ends(t("c"), "bc"));
    CHECK_TEXT(sl_slice(t("abc"), 1, 9), "bc");
    CHECK_TEXT(sl_slice(t("abc"), 3, 1), "");
    CHECK_TEXT(sl_format("%d %.*s %s", 5, 2, "abc", "x"), "5 ab x");
    CHECK_TEXT(sl_format("%.*s", 1, "\xc3\xa9"), "?"); /* half a character is none */
    CHECK(sl_equal((sl_text){NULL, 0}, t("")));
}

static void utf8(void) {
    static const char *const GOOD[] = {"", "a", "12345678901", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "12345678\xc3\xa9", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const BAD[] = {"\x80", "\xc3", "\xc3(", "\xc0\x80", "\xc1\xbf", "\xe2\x82", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                                      "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "12345678\xff", "1234567\xc3"};
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) CHECK(sl_is_utf8(t(GOOD[i])));
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) CHECK(!sl_is_utf8(t(BAD[i])));
}

static void numbers(void) {
    int64_t i;
    uint64_t u;
    double d;
    CHECK(sl_to_int64(t("-9223372036854775808"), &i) && i == INT64_MIN);
    CHECK(sl_to_int64(t("+9223372036854775807"), &i) && i == INT64_MAX);
    CHECK(sl_to_uint64(t("18446744073709551615"), &u) && u == UINT64_MAX);
    CHECK(sl_to_uint64(t("-0"), &u) && u == 0);
    static const char *const BAD[] = {"", "-", "+", " 1", "1 ", "1_0", "0x1", "1.0", "1e3", "9223372036854775808", "-9223372036854775809",
                                      "99999999999999999999", "\xef\xbc\x91"};
    for (size_t at = 0; at < sizeof BAD / sizeof *BAD; at++) CHECK(!sl_to_int64(t(BAD[at]), &i));
    CHECK(!sl_to_uint64(t("-1"), &u) && !sl_to_uint64(t("18446744073709551616"), &u));
    CHECK(sl_to_double(t("-1.5e3"), &d) && d == -1500 && !sl_to_double(t("1."), &d) && !sl_to_double(t("0x1p3"), &d) && !sl_to_double(t("inf"), &d));
    static const char *const DECIMALS[] = {"0", "-1.50", "+1e10", "1E-5", "NaN", "Infinity", "-Infinity"};
    static const char *const NONE[] = {"", ".", ".5", "5.", "1e", "--1", "nan", "+Infinity", "1 ", "e1"};
    for (size_t at = 0; at < sizeof DECIMALS / sizeof *DECIMALS; at++) CHECK(sl_is_decimal(t(DECIMALS[at])));
    for (size_t at = 0; at < sizeof NONE / sizeof *NONE; at++) CHECK(!sl_is_decimal(t(NONE[at])));
}

static void moments(void) {
    sl_moment m = sl_moment_of_days(0);
    CHECK(m.year == 1970 && m.month == 1 && m.day == 1);
    m = sl_moment_of_days(-1);
    CHECK(m.year == 1969 && m.month == 12 && m.day == 31);
    m = sl_moment_of_days(11016);
    CHECK(m.year == 2000 && m.month == 2 && m.day == 29);
    m = sl_moment_of_micros(-1);
    CHECK(m.year == 1969 && m.hour == 23 && m.second == 59 && m.micros == 999999);
    int32_t days;
    int64_t micros;
    for (int64_t day = INT32_MIN + 1; day < INT32_MAX; day += 99991) {
        m = sl_moment_of_days((int32_t)day);
        if (!sl_to_days(m, &days) || days != day) CHECK(!"a day comes back");
        if (day > -106000000 && day < 106000000 && (!sl_to_micros(m, &micros) || micros != day * INT64_C(86400000000))) CHECK(!"a point in time comes back");
    }
    CHECK(!sl_to_days((sl_moment){.year = 2023, .month = 2, .day = 29}, &days) && sl_to_days((sl_moment){.year = 2024, .month = 2, .day = 29}, &days));
    CHECK(!sl_to_days((sl_moment){.year = 2024, .month = 13, .day = 1}, &days) && !sl_to_days((sl_moment){.year = 2024, .month = 1, .day = 0}, &days));
    CHECK(!sl_to_days((sl_moment){.year = 5999999, .month = 1, .day = 1}, &days));
    CHECK(!sl_to_micros((sl_moment){.year = 2024, .month = 1, .day = 1, .hour = 24}, &micros));
    CHECK(!sl_to_micros((sl_moment){.year = 400000, .month = 1, .day = 1}, &micros));
}

static void memory(void) {
    sl_arena arena = {0};
    uint8_t *first = sl_take(&arena, 10, 16), *more = sl_take_more(&arena, first, 10, 1000, 16);
    CHECK(first == more); /* in place */
    uint8_t *other = sl_take(&arena, 1, 1);
    memset(more, 5, 1000);
    *other = 6;
    uint8_t *moved = sl_take_more(&arena, more, 1000, 200000, 16);
    CHECK(moved != more && moved[0] == 5 && moved[999] == 5 && *other == 6 && (uintptr_t)moved % 16 == 0);
    sl_start_over(&arena);
    uint8_t *again = sl_take(&arena, 250000, 16); /* both pieces have become one */
    CHECK(arena.chunks && again == sl_take_more(&arena, again, 250000, 250001, 16));
    sl_give_back(&arena);
}

void text_tests(void) {
    texts();
    utf8();
    numbers();
    moments();
    memory();
}
