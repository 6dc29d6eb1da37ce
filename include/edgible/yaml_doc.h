/*
 * yaml_doc: a YAML stream or JSON text as trees of nodes that know their places. libyaml's home.
 *
 *     struct yaml_reader reader;
 *     yaml_reader_init(&reader, "app.yaml", data, len, &diag);
 *     for (CLEANUP… struct yaml_doc *doc; (doc = yaml_reader_next(&reader)) != NULL;) …
 *
 * Aliases share the node they stand for, so a tree is to be read and never changed; how large it
 * would be written out is what the bounds count.
 */
#ifndef EDGIBLE_YAML_DOC_H
#define EDGIBLE_YAML_DOC_H

#include "edgible/diag.h"
#include "edgible/mem.h"
#include "edgible/yaml_text.h"

#include <stdbool.h>
#include <stddef.h>

#define YAML_DOC_MAX_BYTES (1024UL * 1024)          /* a document */
#define YAML_DOC_MAX_EXPANDED_BYTES (1024UL * 1024) /* its scalars, aliases expanded */
#define YAML_DOC_MAX_DOCUMENTS 1000                 /* a stream */
#define YAML_DOC_MAX_DEPTH 64
#define YAML_DOC_MAX_NODES 100000 /* aliases expanded */

enum doc_kind { DOC_SCALAR, DOC_SEQUENCE, DOC_MAPPING };

struct doc_node {
    enum doc_kind kind;
    bool is_plain; /* a scalar without quotes: may be read as a number, a bool or null */
    char *value;   /* of a scalar */
    size_t line, column;
    size_t count;            /* items of a sequence, pairs of a mapping */
    struct doc_node **keys;  /* of a mapping: scalars, each text once */
    struct doc_node **items; /* of a sequence; the values of a mapping */
    /* With all below, aliases expanded. */
    size_t nodes, bytes, height;
    struct doc_node *next; /* of all nodes of the document, which owns them */
};

struct yaml_doc {
    struct doc_node *root;
    struct doc_node *all;
    struct diag diag;      /* what is wrong with it although it could be read, such as a key that
                              stands twice */
    size_t offset, length; /* where in the data it stands, with its `---` and the comments before */
};

void yaml_doc_free(struct yaml_doc *doc);
DEFINE_CLEANUP(yaml_doc, struct yaml_doc, yaml_doc_free)

struct yaml_reader {
    const char *file;
    const char *data;
    struct yaml_text text;
    struct diag *diag; /* borrowed */
    size_t documents;
    /* 1 at first. Bounds of size and nodes are multiplied by it: what the agent wrote itself may be
     * larger than the document it was made from. */
    size_t bound_factor;
};

/* Borrows all; the reader needs no end. */
void yaml_reader_init(struct yaml_reader *reader, const char *file, const char *data, size_t len,
                      struct diag *diag);

/* The next document, NULL at the end. One that cannot be read, or is past a bound, is an error in
 * the reader's diag and passed over; an empty one is passed over. */
struct yaml_doc *yaml_reader_next(struct yaml_reader *reader);

/* Null: nothing, ~ or null without quotes. */
bool doc_node_is_null(const struct doc_node *node);
/* "a string", "null", "a list" or "a mapping" */
const char *doc_node_kind_name(const struct doc_node *node);
/* The value of a mapping's key, NULL where there is none or node is no mapping. */
const struct doc_node *doc_node_get(const struct doc_node *node, const char *key);

#endif
