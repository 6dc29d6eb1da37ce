#include "edgible/appspec_read.h"

#include <string.h>

static void read_word(struct doc_reader *reader, const struct doc_spot *spot, struct strv *ret)
{
    const struct doc_node *node = spot->node;
    /* Without quotes, `~` and `null` would read as text although YAML means nothing by them;
     * nobody can have meant that. */
    if (node->kind != DOC_SCALAR || doc_node_is_null(node)) {
        docread_mismatch(reader, spot, "a string");
    } else if (strlen(node->value) > APPSPEC_MAX_WORD_BYTES) {
        docread_error(reader, spot, "is longer than 128 KiB");
    } else {
        strv_add(ret, node->value);
    }
}

static void read_array(struct doc_reader *reader, const struct doc_spot *spot, struct strv *ret)
{
    if (!docread_is_list(reader, spot, APPSPEC_MAX_ARGV)) {
        return;
    }
    for (size_t i = 0; i < spot->node->count; i++) {
        struct doc_spot item = docread_item(spot, i);
        read_word(reader, &item, ret);
    }
    strv_pack(ret);
    if (spot->node->count == 0) {
        docread_error(reader, spot, "is empty");
    } else if (ret->count > 0 && *ret->items[0] == '\0') {
        struct doc_spot first = docread_item(spot, 0);
        docread_error(reader, &first, "the program is an empty string");
    }
}

static bool has_long_word(const struct strv *words)
{
    for (size_t i = 0; i < words->count; i++) {
        if (strlen(words->items[i]) > APPSPEC_MAX_WORD_BYTES) {
            return true;
        }
    }
    return false;
}

static void read_line(struct doc_reader *reader, const struct doc_spot *spot, struct strv *ret)
{
    struct err err = {0};
    size_t at = 0;
    if (parse_words(spot->node->value, ret, &at, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
    } else if (ret->count == 0) {
        docread_error(reader, spot, "is empty");
    } else if (*ret->items[0] == '\0') {
        docread_error(reader, spot, "the program is an empty string");
    } else if (ret->count > APPSPEC_MAX_ARGV) {
        docread_error(reader, spot, "has %zu words, the most is %d", ret->count, APPSPEC_MAX_ARGV);
    } else if (has_long_word(ret)) {
        docread_error(reader, spot, "has a word longer than 128 KiB");
    }
}

void appspec_read_command(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const struct strv *words = target;
    if (spot->node->kind == DOC_SEQUENCE) {
        read_array(reader, spot, target);
    } else if (spot->node->kind == DOC_SCALAR && !doc_node_is_null(spot->node)) {
        read_line(reader, spot, target);
    } else {
        docread_mismatch(reader, spot, "a list of strings");
    }
    if (words->count > 0) {
        struct doc_spot first = spot->node->kind == DOC_SEQUENCE ? docread_item(spot, 0) : *spot;
        (void) docread_is_doc_path(reader, &first, words->items[0]);
    }
}
