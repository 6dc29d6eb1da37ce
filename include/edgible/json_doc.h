/*
 * json_doc: JSON texts from values. cJSON's home.
 *
 *     CLEANUP(json) struct json *root = json_object();
 *     json_set_string(root, "name", name);
 *     json_set(root, "env", steal_ptr(&env));
 *     char *text = json_text(root);
 *
 * Reading goes the way of all documents: yaml_doc and docread.
 */
#ifndef EDGIBLE_JSON_DOC_H
#define EDGIBLE_JSON_DOC_H

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

/* One line, with a line feed; the caller frees. */
char *json_text(const struct json *json);

#endif
