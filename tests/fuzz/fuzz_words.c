/* Any string as a command, a duration, a size, a host name, a signal. */
#include "edgible/appspec.h"
#include "fuzz.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void check_words(const char *text)
{
    CLEANUP(strv) struct strv words = {0};
    CLEANUP(strv) struct strv again = {0};
    struct err err = {0};
    size_t at = 0;
    if (parse_words(text, &words, &at, &err) < 0) {
        assert(at < strlen(text) && err.msg[0] != '\0');
        return;
    }
    /* In single quotes, with those in it as '\'', each word comes out as it is. */
    CLEANUP(free) char *quoted = xmalloc(strlen(text) * 5 + words.count * 3 + 1);
    char *to = quoted;
    for (size_t i = 0; i < words.count; i++) {
        *to++ = '\'';
        for (const char *c = words.items[i]; *c != '\0'; c++) {
            if (*c == '\'') {
                memcpy(to, "'\\'", 3);
                to += 3;
            }
            *to++ = *c;
        }
        *to++ = '\'';
        *to++ = ' ';
    }
    *to = '\0';
    assert(parse_words(quoted, &again, &at, &err) == 0);
    assert(strv_is_equal(&words, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(free) char *text = xstrndup((const char *) data, size);
    static const char *const names[] = {"name", "command", "workingDir"};
    mono_ms ms = 0;
    uint64_t bytes = 0;
    int64_t number = 0;
    char name[32];
    check_words(text);
    if (parse_duration(text, &ms, NULL) == 0) {
        assert(ms >= 0 && ms <= (mono_ms) 366 * 24 * 3600 * 1000);
    }
    if (parse_size(text, &bytes, NULL) == 0) {
        assert(bytes <= (uint64_t) 1 << 50);
    }
    if (parse_int(text, -5, 5, &number, NULL) == 0) {
        assert(number >= -5 && number <= 5);
    }
    if (parse_is_dns_label(text)) {
        assert(parse_is_hostname(text));
    }
    (void) parse_nearest(text, names, ARRAY_LEN(names));
    int found = signal_from_name(text);
    assert(found == -1 || (found >= 1 && found <= SIGRTMAX));
    (void) signal_name(found, name, sizeof(name));
    return 0;
}
