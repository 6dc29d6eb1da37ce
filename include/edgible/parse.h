/*
 * parse: the small languages that configuration, documents and the command line share. Pure.
 */
#ifndef EDGIBLE_PARSE_H
#define EDGIBLE_PARSE_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Milliseconds; of CLOCK_MONOTONIC where it is a point in time. */
typedef int64_t mono_ms;

/* "250ms" "10s" "5m" "1h"; also "1.5s" and "0". Milliseconds, up to 366 days. */
int parse_duration(const char *s, mono_ms *ret_ms, struct err *err) MUST_CHECK;

/* "4096" "64KiB" "256MiB" "1GiB", also "1.5GiB". Bytes, up to 2^50. */
int parse_size(const char *s, uint64_t *ret_bytes, struct err *err) MUST_CHECK;

/* A whole decimal number from min to max, digits and a leading minus alone. */
int parse_int(const char *s, int64_t min, int64_t max, int64_t *ret_value,
              struct err *err) MUST_CHECK;

/* A DNS label: ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ */
bool parse_is_dns_label(const char *s);

/* A DNS name of labels with dots, up to 253 characters; letters of either case. */
bool parse_is_hostname(const char *s);

/* `word` is not the name, but at most two letters away from it, or the same but for its case. */
bool parse_is_typo(const char *word, const char *name);
/* The name nearest to `word` among the count names by edit distance, NULL where none is near. */
const char *parse_nearest(const char *word, const char *const *names, size_t count);

/* "2026-11-23T09:00:00.123Z" from milliseconds since 1970. buf holds at least 32 bytes. */
const char *format_rfc3339(int64_t unix_ms, char *buf, size_t size);

/* "Sun, 06 Nov 1994 08:49:37 GMT", as HTTP writes dates, in seconds since 1970. */
int parse_http_date(const char *s, int64_t *ret, struct err *err) MUST_CHECK;

/* A duration for people: "250 ms", "3.2 s", "4 min 10 s", "2 h 5 min", "3 d 4 h". */
const char *format_duration(mono_ms ms, char *buf, size_t size);

/* Splits a command string into words as a shell does with quotes and backslashes, and nothing
 * else: an unquoted character that a shell would interpret is an error that names it and the way
 * out. *ret_at is the offset of the trouble. The words are added to *words (a struct strv, which
 * the caller frees also after an error). */
struct strv;
int parse_words(const char *s, struct strv *words, size_t *ret_at, struct err *err) MUST_CHECK;

#endif
