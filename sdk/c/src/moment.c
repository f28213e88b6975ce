/* Days and points in time as people write them, in the calendar that is used today, also before it was. */
#include "internal.h"

#define DAY_MICROS INT64_C(86400000000)

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Days since 1970-01-01 of a day; eras have 400 years, and years begin in March. */
static int64_t days_of(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = floor_div(year, 400), of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static sl_moment moment_of(int64_t days) {
    days += 719468;
    int64_t era = floor_div(days, 146097), day = days - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t of_year = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    sl_moment moment = {.day = (int)(of_year - (153 * month + 2) / 5 + 1), .month = (int)(month < 10 ? month + 3 : month - 9)};
    moment.year = year + era * 400 + (moment.month <= 2);
    return moment;
}

sl_moment sl_moment_of_days(int32_t days) { return moment_of(days); }

sl_moment sl_moment_of_micros(int64_t micros) {
    int64_t days = floor_div(micros, DAY_MICROS), rest = micros - days * DAY_MICROS;
    sl_moment moment = moment_of(days);
    moment.micros = (int)(rest % 1000000);
    rest /= 1000000;
    moment.second = (int)(rest % 60);
    moment.minute = (int)(rest / 60 % 60);
    moment.hour = (int)(rest / 3600);
    return moment;
}

static bool exact_days(sl_moment moment, int64_t *days) {
    if (moment.month < 1 || moment.month > 12 || moment.day < 1 || moment.year < -6000000 || moment.year > 6000000) return false;
    *days = days_of(moment.year, moment.month, moment.day);
    /* The 30th of February is the 2nd of March, which is not what was meant. */
    sl_moment back = moment_of(*days);
    return back.year == moment.year && back.month == moment.month && back.day == moment.day;
}

bool sl_to_days(sl_moment moment, int32_t *days) {
    int64_t exact;
    /* Both ends stand for infinity. */
    if (!exact_days(moment, &exact) || exact <= INT32_MIN || exact >= INT32_MAX) return false;
    *days = (int32_t)exact;
    return true;
}

bool sl_to_micros(sl_moment moment, int64_t *micros) {
    int64_t days, value;
    if (moment.hour < 0 || moment.hour > 23 || moment.minute < 0 || moment.minute > 59 || moment.second < 0 || moment.second > 59 ||
        moment.micros < 0 || moment.micros > 999999 || !exact_days(moment, &days))
        return false;
    int64_t of_day = ((moment.hour * INT64_C(60) + moment.minute) * 60 + moment.second) * 1000000 + moment.micros;
    if (__builtin_mul_overflow(days, DAY_MICROS, &value) || __builtin_add_overflow(value, of_day, &value)) return false;
    if (value == INT64_MIN || value == INT64_MAX) return false;
    *micros = value;
    return true;
}
