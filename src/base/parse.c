#include "edgible/parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_MS ((mono_ms) 24 * 60 * 60 * 1000)
#define DURATION_MAX_MS (366 * DAY_MS)
#define SIZE_MAX_BYTES ((uint64_t) 1 << 50)

/* Digits of a fraction that count; further ones are read and dropped. */
#define FRACTION_DIGITS 9
#define FRACTION_SCALE 1000000000U

struct decimal {
    uint64_t whole;
    uint64_t fraction; /* in units of 1/FRACTION_SCALE */
};

struct unit {
    const char *name;
    uint64_t factor;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads "12" or "1.5" from *s and moves it behind. Only ten digits before the point: no quantity
 * here needs more than sixteen, and factor × whole must not overflow. */
static int read_decimal(const char **s, struct decimal *ret)
{
    const char *at = *s;
    *ret = (struct decimal){0};
    if (!is_digit(*at)) {
        return -1;
    }
    for (; is_digit(*at); at++) {
        if (ret->whole > SIZE_MAX_BYTES) {
            return -1;
        }
        ret->whole = ret->whole * 10 + (uint64_t) (*at - '0');
    }
    if (*at == '.') {
        at++;
        if (!is_digit(*at)) {
            return -1;
        }
        uint64_t digit_value = FRACTION_SCALE / 10;
        for (; is_digit(*at); at++) {
            ret->fraction += digit_value * (uint64_t) (*at - '0');
            digit_value /= 10;
        }
    }
    *s = at;
    return 0;
}

static const struct unit *find_unit(const struct unit *units, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(units[i].name, name) == 0) {
            return &units[i];
        }
    }
    return NULL;
}

/* decimal × factor, cut to a whole number; -1 where it is above max. */
static int scale(const struct decimal *decimal, uint64_t factor, uint64_t max, uint64_t *ret)
{
    if (decimal->whole > max / factor) {
        return -1;
    }
    /* The largest factors, 2^30 and an hour of milliseconds, times 10^9 stay below 2^60. */
    uint64_t value = decimal->whole * factor + decimal->fraction * factor / FRACTION_SCALE;
    if (value > max) {
        return -1;
    }
    *ret = value;
    return 0;
}

int parse_duration(const char *s, mono_ms *ret_ms, struct err *err)
{
    static const struct unit units[] = {
        {"ms", 1      },
        {"s",  1000   },
        {"m",  60000  },
        {"h",  3600000},
    };
    const char *rest = s;
    struct decimal number;
    if (read_decimal(&rest, &number) < 0) {
        return err_set(err, ERR_SPEC, "'%.40s' is not a duration such as 500ms, 10s, 5m or 1h", s);
    }
    bool is_zero = number.whole == 0 && number.fraction == 0;
    if (*rest == '\0' && is_zero) {
        *ret_ms = 0;
        return 0;
    }
    const struct unit *unit = find_unit(units, sizeof(units) / sizeof(units[0]), rest);
    if (unit == NULL) {
        return err_set(err, ERR_SPEC, "duration '%.40s' needs one of the units ms, s, m, h", s);
    }
    uint64_t ms = 0;
    if (scale(&number, unit->factor, (uint64_t) DURATION_MAX_MS, &ms) < 0) {
        return err_set(err, ERR_SPEC, "duration '%.40s' is above 366 days", s);
    }
    /* Zero often means "off", so a tiny duration must not turn into it. */
    if (ms == 0 && !is_zero) {
        return err_set(err, ERR_SPEC, "duration '%.40s' is below a millisecond", s);
    }
    *ret_ms = (mono_ms) ms;
    return 0;
}

int parse_size(const char *s, uint64_t *ret_bytes, struct err *err)
{
    static const struct unit units[] = {
        {"",    1        },
        {"KiB", 1024     },
        {"MiB", 1UL << 20},
        {"GiB", 1UL << 30},
    };
    const char *rest = s;
    struct decimal number;
    if (read_decimal(&rest, &number) < 0) {
        return err_set(err, ERR_SPEC, "'%.40s' is not a size such as 4096, 64KiB, 256MiB or 1GiB",
                       s);
    }
    const struct unit *unit = find_unit(units, sizeof(units) / sizeof(units[0]), rest);
    if (unit == NULL) {
        return err_set(err, ERR_SPEC, "size '%.40s' has another unit than KiB, MiB, GiB", s);
    }
    if (unit->factor == 1 && number.fraction != 0) {
        return err_set(err, ERR_SPEC, "size '%.40s' is not a whole number of bytes", s);
    }
    uint64_t bytes = 0;
    if (scale(&number, unit->factor, SIZE_MAX_BYTES, &bytes) < 0) {
        return err_set(err, ERR_SPEC, "size '%.40s' is above 2^50 bytes", s);
    }
    *ret_bytes = bytes;
    return 0;
}

int parse_int(const char *s, int64_t min, int64_t max, int64_t *ret_value, struct err *err)
{
    const char *digits = *s == '-' ? s + 1 : s;
    if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0') {
        return err_set(err, ERR_SPEC, "'%.40s' is not a whole number", s);
    }
    errno = 0;
    long long value = strtoll(s, NULL, 10);
    if (errno == ERANGE || value < min || value > max) {
        return err_set(err, ERR_SPEC, "%.40s is not from %lld to %lld", s, (long long) min,
                       (long long) max);
    }
    *ret_value = value;
    return 0;
}

static bool is_label_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z');
}

bool parse_is_dns_label(const char *s)
{
    size_t len = strnlen(s, 64);
    if (len == 0 || len > 63 || !is_label_char(s[0]) || !is_label_char(s[len - 1])) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_label_char(s[i]) && s[i] != '-') {
            return false;
        }
    }
    return true;
}

/* ASCII alone, whatever the locale. */
static char lower(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (char) (c - 'A' + 'a');
    }
    return c;
}

bool parse_is_hostname(const char *s)
{
    size_t len = strnlen(s, 254);
    if (len > 253) {
        return false;
    }
    char label[64];
    size_t label_len = 0;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && s[i] != '.') {
            if (label_len == sizeof(label) - 1) {
                return false;
            }
            label[label_len++] = lower(s[i]);
            continue;
        }
        label[label_len] = '\0';
        if (!parse_is_dns_label(label)) {
            return false;
        }
        label_len = 0;
    }
    return true;
}

#define NEAREST_MAX_LEN 64
#define TYPO_EDITS 2

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance with neighbours swapped counted as one edit; letter case does not count.
 * Both words hold at most NEAREST_MAX_LEN bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NEAREST_MAX_LEN + 1];
    size_t *before = rows[0];
    size_t *above = rows[1];
    size_t *row = rows[2];
    size_t b_len = strlen(b);
    for (size_t j = 0; j <= b_len; j++) {
        above[j] = j;
        before[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1;
            row[j] = min_size(above[j - 1] + change, min_size(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1])) {
                row[j] = min_size(row[j], before[j - 2] + 1);
            }
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[b_len];
}

bool parse_is_typo(const char *word, const char *name)
{
    return strnlen(word, NEAREST_MAX_LEN + 1) <= NEAREST_MAX_LEN && strcmp(word, name) != 0 &&
           edit_distance(word, name) <= TYPO_EDITS;
}

const char *parse_nearest(const char *word, const char *const *names, size_t count)
{
    size_t len = strnlen(word, NEAREST_MAX_LEN + 1);
    if (len == 0 || len > NEAREST_MAX_LEN) {
        return NULL;
    }
    size_t best_edits = (len / 3 > 1 ? len / 3 : 1) + 1;
    const char *best = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strnlen(names[i], NEAREST_MAX_LEN + 1) > NEAREST_MAX_LEN) {
            continue;
        }
        size_t edits = edit_distance(word, names[i]);
        if (edits < best_edits) {
            best_edits = edits;
            best = names[i];
        }
    }
    return best;
}

int parse_http_date(const char *s, int64_t *ret, struct err *err)
{
    struct tm tm = {0};
    const char *end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0') {
        return err_set(err, ERR_SPEC, "'%.40s' is not a date of HTTP", s);
    }
    *ret = (int64_t) timegm(&tm);
    return 0;
}

const char *format_rfc3339(int64_t unix_ms, char *buf, size_t size)
{
    int64_t ms = unix_ms % 1000;
    int64_t seconds = unix_ms / 1000;
    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    time_t when = (time_t) seconds;
    struct tm tm;
    /* Fails only for years beyond an int, which 64 bits of milliseconds do not reach. */
    if (gmtime_r(&when, &tm) == NULL) {
        tm = (struct tm){.tm_mday = 1, .tm_year = 70};
    }
    (void) snprintf(buf, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int) ms);
    return buf;
}

/* "4 min 10 s"; the smaller unit is left out where it is zero. */
static void format_two(char *buf, size_t size, int64_t big, const char *big_unit, int64_t small,
                       const char *small_unit)
{
    if (small == 0) {
        (void) snprintf(buf, size, "%lld %s", (long long) big, big_unit);
    } else {
        (void) snprintf(buf, size, "%lld %s %lld %s", (long long) big, big_unit, (long long) small,
                        small_unit);
    }
}

const char *format_duration(mono_ms ms, char *buf, size_t size)
{
    if (ms < 0) {
        ms = 0;
    }
    int64_t seconds = ms / 1000;
    int64_t tenths = ms % 1000 / 100;
    if (ms < 1000) {
        (void) snprintf(buf, size, "%lld ms", (long long) ms);
    } else if (seconds < 60 && tenths != 0) {
        (void) snprintf(buf, size, "%lld.%lld s", (long long) seconds, (long long) tenths);
    } else if (seconds < 60) {
        (void) snprintf(buf, size, "%lld s", (long long) seconds);
    } else if (seconds < 3600) {
        format_two(buf, size, seconds / 60, "min", seconds % 60, "s");
    } else if (ms < DAY_MS) {
        format_two(buf, size, seconds / 3600, "h", seconds % 3600 / 60, "min");
    } else {
        format_two(buf, size, ms / DAY_MS, "d", ms % DAY_MS / 3600000, "h");
    }
    return buf;
}
