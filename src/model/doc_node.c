#include "edgible/yaml_doc.h"

#include <stdlib.h>
#include <string.h>

void yaml_doc_free(struct yaml_doc *doc)
{
    if (doc == NULL) {
        return;
    }
    while (doc->all != NULL) {
        struct doc_node *node = doc->all;
        doc->all = node->next;
        free(node->value);
        free((void *) node->keys);
        free((void *) node->items);
        free(node);
    }
    diag_fini(&doc->diag);
    free(doc);
}

bool doc_node_is_null(const struct doc_node *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != DOC_SCALAR || !node->is_plain) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(node->value, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *doc_node_kind_name(const struct doc_node *node)
{
    switch (node->kind) {
    case DOC_MAPPING:
        return "a mapping";
    case DOC_SEQUENCE:
        return "a list";
    case DOC_SCALAR:
        break;
    }
    return doc_node_is_null(node) ? "null" : "a string";
}

const struct doc_node *doc_node_get(const struct doc_node *node, const char *key)
{
    if (node->kind != DOC_MAPPING) {
        return NULL;
    }
    for (size_t i = 0; i < node->count; i++) {
        if (strcmp(node->keys[i]->value, key) == 0) {
            return node->items[i];
        }
    }
    return NULL;
}
