/*
 * json_doc: JSON texts from values, and values from the JSON texts of an agent. cJSON's home.
 *
 *     CLEANUP(json) struct json *root = json_object();
 *     json_set_string(root, "name", name);
 *     json_set(root, "env", steal_ptr(&env));
 *     char *text = json_text(root);
 *
 *     CLEANUP(json) struct json *root = json_parse(text, len, &err);
 *     for (const struct json *app = json_first(json_get(root, "applications")); app != NULL;
 *          app = json_next(app)) {
 *         puts(json_string(app, "name"));
 *     }
 *
 * Reading is for what a program wrote, and has no places: the documents and files that people
 * write go through yaml_doc and docread.
 */
#ifndef EDGIBLE_JSON_DOC_H
#define EDGIBLE_JSON_DOC_H

#include "edgible/err.h"
#include "edgible/mem.h"
#include "edgible/strv.h"

#include <stdbool.h>
#include <stdint.h>

struct json;

struct json *json_object(void);
struct json *json_array(void);
void json_free(struct json *json);
DEFINE_CLEANUP(json, struct json, json_free)

/* A member of an object. A NULL value leaves it out; bytes that are not UTF-8 become U+FFFD. */
void json_set_string(struct json *object, const char *key, const char *value);
/* Exact up to 2^53. */
void json_set_int(struct json *object, const char *key, int64_t value);
/* To three decimals. */
void json_set_seconds(struct json *object, const char *key, int64_t ms);
void json_set_bool(struct json *object, const char *key, bool value);
void json_set_strings(struct json *object, const char *key, const struct strv *values);
/* Takes over child. */
void json_set(struct json *object, const char *key, struct json *take_child);

/* An item at the end of an array. */
void json_add(struct json *array, struct json *take_child);
void json_add_string(struct json *array, const char *value);
/* A text that is JSON already. */
void json_add_raw(struct json *array, const char *text);
void json_add_int(struct json *array, int64_t value);

struct json *json_copy(const struct json *json);

/* One line, with a line feed; the caller frees. */
char *json_text(const struct json *json);

/* False where the text has more values than that: each takes memory when it is parsed. Takes no
 * memory itself, and any text. */
bool json_has_at_most(const char *text, size_t len, size_t count);
/* Exactly one value, with white space around it; NULL where the text is none (ERR_REMOTE). */
struct json *json_parse(const char *text, size_t len, struct err *err) MUST_CHECK;

/* What these return is borrowed from the tree. All take NULL, as an absent value, and answer a
 * value of another type as an absent one; of a key that stands twice the first counts. */
const struct json *json_get(const struct json *object, const char *key);
/* NULL where absent. */
const char *json_string(const struct json *object, const char *key);
/* Where it is beyond that: that, so that milliseconds of it are an int64_t. */
#define JSON_NUMBER_MAX 9e15
double json_number(const struct json *object, const char *key, double absent);
bool json_bool(const struct json *object, const char *key, bool absent);
/* The items of an array, or the values of an object; NULL at the end. */
const struct json *json_first(const struct json *json);
const struct json *json_next(const struct json *item);
size_t json_count(const struct json *json);
/* Of an item: its text where it is a string, and its key where it stands in an object. */
const char *json_item_string(const struct json *item);
const char *json_item_key(const struct json *item);
double json_item_number(const struct json *item, double absent);
bool json_is_array(const struct json *json);
bool json_is_object(const struct json *json);

#endif
