#include "edgible/json_doc.h"

#include "edgible/buf.h"
#include "edgible/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

/* struct json is cJSON's own node under a name of ours. */
static cJSON *node_of(struct json *json)
{
    return (cJSON *) (void *) json;
}

/* NULL is out of memory: small allocations abort, as xmalloc() does. */
static _Noreturn void end_out_of_memory(void)
{
    (void) fputs("edgible-agent: out of memory\n", stderr);
    abort();
}

static cJSON *checked(cJSON *node)
{
    if (node == NULL) {
        end_out_of_memory();
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
        end_out_of_memory();
    }
}

static void add_node(struct json *array, cJSON *take_node)
{
    if (!cJSON_AddItemToArray(node_of(array), checked(take_node))) {
        end_out_of_memory();
    }
}

static bool has_control_character(const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char) *c < 0x20 && strchr("\b\f\n\r\t", *c) == NULL) {
            return true;
        }
    }
    return false;
}

static cJSON *string_node(const char *value)
{
    size_t len = strlen(value);
    if (utf8_valid_prefix(value, len) == len && !has_control_character(value)) {
        return cJSON_CreateString(value);
    }
    /* cJSON prints each control character by sprintf(), which takes ten times as long. */
    CLEANUP(buf) struct buf text = {0};
    buf_add_str(&text, "\"");
    buf_add_json_escaped(&text, value);
    buf_add_str(&text, "\"");
    return cJSON_CreateRaw(buf_str(&text));
}

void json_set_string(struct json *object, const char *key, const char *value)
{
    if (value != NULL) {
        set_node(object, key, string_node(value));
    }
}

void json_set_int(struct json *object, const char *key, int64_t value)
{
    /* As text: cJSON prints numbers as floats, reads them again to compare, and takes its time. */
    char text[24];
    (void) snprintf(text, sizeof(text), "%" PRId64, value);
    set_node(object, key, cJSON_CreateRaw(text));
}

void json_set_seconds(struct json *object, const char *key, int64_t ms)
{
    char text[32];
    const char *sign = ms < 0 ? "-" : "";
    int64_t size = ms < 0 ? -ms : ms;
    int len =
        snprintf(text, sizeof(text), "%s%" PRId64 ".%03d", sign, size / 1000, (int) (size % 1000));
    while (text[len - 1] == '0') {
        text[--len] = '\0';
    }
    text[text[len - 1] == '.' ? len - 1 : len] = '\0';
    set_node(object, key, cJSON_CreateRaw(text));
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
        end_out_of_memory();
    }
    /* It can have megabytes, for which printf() would take several times as long. */
    size_t len = strlen(printed);
    char *text = xrealloc(printed, len + 2, 1);
    memcpy(text + len, "\n", 2);
    return text;
}

/* --- reading -----------------------------------------------------------------------------------
 */

static const cJSON *view(const struct json *json)
{
    return (const cJSON *) (const void *) json;
}

struct json *json_copy(const struct json *json)
{
    return json_of(checked(cJSON_Duplicate(view(json), true)));
}

static const struct json *view_of(const cJSON *node)
{
    return (const struct json *) (const void *) node;
}

bool json_has_at_most(const char *text, size_t len, size_t count)
{
    size_t found = 1;
    bool is_string = false;
    for (size_t i = 0; i < len && found <= count; i++) {
        char c = text[i];
        if (is_string && c == '\\') {
            i++;
        } else if (c == '"') {
            is_string = !is_string;
        } else if (!is_string && (c == ',' || c == '{' || c == '[')) {
            found++;
        }
    }
    return found <= count;
}

struct json *json_parse(const char *text, size_t len, struct err *err)
{
    const char *end = NULL;
    cJSON *root = cJSON_ParseWithLengthOpts(text, len, &end, false);
    if (root == NULL) {
        (void) err_set(err, ERR_REMOTE, "it is no JSON");
        return NULL;
    }
    size_t at = (size_t) (end - text);
    while (at < len && strchr(" \t\r\n", text[at]) != NULL && text[at] != '\0') {
        at++;
    }
    if (at < len) {
        cJSON_Delete(root);
        (void) err_set(err, ERR_REMOTE, "there is more after its JSON");
        return NULL;
    }
    return (struct json *) (void *) root;
}

const struct json *json_get(const struct json *object, const char *key)
{
    return view_of(cJSON_GetObjectItemCaseSensitive(view(object), key));
}

const char *json_string(const struct json *object, const char *key)
{
    return cJSON_GetStringValue(view(json_get(object, key)));
}

double json_number(const struct json *object, const char *key, double absent)
{
    return json_item_number(json_get(object, key), absent);
}

bool json_bool(const struct json *object, const char *key, bool absent)
{
    const cJSON *node = view(json_get(object, key));
    return cJSON_IsBool(node) ? cJSON_IsTrue(node) : absent;
}

const struct json *json_first(const struct json *json)
{
    const cJSON *node = view(json);
    return cJSON_IsArray(node) || cJSON_IsObject(node) ? view_of(node->child) : NULL;
}

const struct json *json_next(const struct json *item)
{
    return view_of(view(item)->next);
}

size_t json_count(const struct json *json)
{
    size_t count = 0;
    for (const struct json *item = json_first(json); item != NULL; item = json_next(item)) {
        count++;
    }
    return count;
}

const char *json_item_string(const struct json *item)
{
    return cJSON_GetStringValue(view(item));
}

const char *json_item_key(const struct json *item)
{
    return view(item)->string;
}

double json_item_number(const struct json *item, double absent)
{
    const cJSON *node = view(item);
    if (!cJSON_IsNumber(node)) {
        return absent;
    }
    double value = node->valuedouble;
    value = value < JSON_NUMBER_MAX ? value : JSON_NUMBER_MAX;
    return value > -JSON_NUMBER_MAX ? value : -JSON_NUMBER_MAX;
}

bool json_is_array(const struct json *json)
{
    return cJSON_IsArray(view(json));
}

bool json_is_object(const struct json *json)
{
    return cJSON_IsObject(view(json));
}
