#include "edgible/json_doc.h"

#include "edgible/buf.h"
#include "edgible/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

/* struct json is cJSON's own node under a name of ours. */
static cJSON *node_of(struct json *json)
{
    return (cJSON *) (void *) json;
}

/* NULL is out of memory: small allocations abort, as xmalloc() does. */
static cJSON *checked(cJSON *node)
{
    if (node == NULL) {
        (void) fputs("edgible-agent: out of memory\n", stderr);
        abort();
    }
    return node;
}

static struct json *json_of(cJSON *node)
{
    return (struct json *) (void *) checked(node);
}

struct json *json_object(void)
{
    return json_of(cJSON_CreateObject());
}

struct json *json_array(void)
{
    return json_of(cJSON_CreateArray());
}

void json_free(struct json *json)
{
    cJSON_Delete(node_of(json));
}

static void set_node(struct json *object, const char *key, cJSON *take_node)
{
    if (!cJSON_AddItemToObject(node_of(object), key, checked(take_node))) {
        (void) checked(NULL);
    }
}

static void add_node(struct json *array, cJSON *take_node)
{
    if (!cJSON_AddItemToArray(node_of(array), checked(take_node))) {
        (void) checked(NULL);
    }
}

static cJSON *string_node(const char *value)
{
    size_t len = strlen(value);
    if (utf8_valid_prefix(value, len) == len) {
        return cJSON_CreateString(value);
    }
    CLEANUP(buf) struct buf clean = {0};
    for (size_t at = 0; at < len;) {
        size_t n = utf8_char_len(value + at, len - at);
        if (n > 0) {
            buf_add(&clean, value + at, n);
        } else {
            buf_add_str(&clean, "\xEF\xBF\xBD");
        }
        at += n > 0 ? n : 1;
    }
    return cJSON_CreateString(buf_str(&clean));
}

void json_set_string(struct json *object, const char *key, const char *value)
{
    if (value != NULL) {
        set_node(object, key, string_node(value));
    }
}

void json_set_int(struct json *object, const char *key, int64_t value)
{
    set_node(object, key, cJSON_CreateNumber((double) value));
}

void json_set_seconds(struct json *object, const char *key, int64_t ms)
{
    set_node(object, key, cJSON_CreateNumber((double) ms / 1000));
}

void json_set_bool(struct json *object, const char *key, bool value)
{
    set_node(object, key, cJSON_CreateBool(value));
}

void json_set(struct json *object, const char *key, struct json *take_child)
{
    set_node(object, key, node_of(take_child));
}

void json_set_strings(struct json *object, const char *key, const struct strv *values)
{
    struct json *array = json_array();
    for (size_t i = 0; i < values->count; i++) {
        json_add_string(array, values->items[i]);
    }
    json_set(object, key, array);
}

void json_add(struct json *array, struct json *take_child)
{
    add_node(array, node_of(take_child));
}

void json_add_string(struct json *array, const char *value)
{
    add_node(array, string_node(value));
}

void json_add_raw(struct json *array, const char *text)
{
    add_node(array, cJSON_CreateRaw(text));
}

void json_add_int(struct json *array, int64_t value)
{
    add_node(array, cJSON_CreateNumber((double) value));
}

char *json_text(const struct json *json)
{
    char *printed = cJSON_PrintUnformatted((const cJSON *) (const void *) json);
    if (printed == NULL) {
        (void) checked(NULL);
    }
    char *text = xasprintf("%s\n", printed);
    cJSON_free(printed);
    return text;
}
