#include "edgible/yaml_doc.h"

#include "edgible/map.h"
#include "edgible/utf8.h"

#include <stdarg.h>
#include <string.h>

#include <yaml.h>

/* libyaml compares each %TAG with all before it. */
#define MAX_DIRECTIVES 16
/* libyaml copies a prefix of %TAG for each node that it stands at. */
#define MAX_DIRECTIVE_BYTES 1024
/* Below this many pairs a mapping's keys are compared one by one. */
#define SMALL_MAPPING 8

struct builder {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    const char *file;
    const struct yaml_chunk *chunk;
    struct yaml_doc *doc;
    struct diag *fatal;  /* the stream's */
    struct map *anchors; /* name to node; a node that is still open has no height yet */
    size_t nodes, bytes, depth;
    size_t bound_factor;
};

/* A mapping while its pairs come in. */
struct pairs {
    struct doc_node *mapping;
    size_t cap;
    struct map *by_key; /* once it is large */
};

static struct doc_node *build_node(struct builder *b);

static size_t mark_line(const struct builder *b, const yaml_mark_t *mark)
{
    return b->chunk->line + mark->line;
}

__attribute__((format(printf, 3, 4))) static void
complain(struct builder *b, const yaml_mark_t *mark, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *text = xvasprintf(fmt, ap);
    va_end(ap);
    diag_add(&b->doc->diag, DIAG_ERROR, b->file, mark_line(b, mark), mark->column + 1, "", "%s",
             text);
}

/* For what ends the reading of this document. */
static void give_up(struct builder *b, const yaml_mark_t *mark, const char *text)
{
    diag_add(b->fatal, DIAG_ERROR, b->file, mark_line(b, mark), mark->column + 1, "", "%s", text);
}

/* At the end of a text without a last newline libyaml counts one line too many. */
static void find_place(const struct builder *b, const yaml_mark_t *mark, size_t *ret_line,
                       size_t *ret_column)
{
    size_t end_line = 0;
    size_t end_column = 0;
    yaml_text_place(b->chunk, b->chunk->len, &end_line, &end_column);
    bool is_behind = mark_line(b, mark) > end_line;
    *ret_line = is_behind ? end_line : mark_line(b, mark);
    *ret_column = is_behind ? end_column : mark->column + 1;
}

static void report_parser_error(struct builder *b)
{
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_READER_ERROR) {
        size_t line = 0;
        size_t column = 0;
        yaml_text_place(b->chunk, p->problem_offset, &line, &column);
        diag_add(b->fatal, DIAG_ERROR, b->file, line, column, "", "%s", p->problem);
        return;
    }
    const char *problem = p->problem != NULL ? p->problem : "not YAML";
    size_t line = 0;
    size_t column = 0;
    find_place(b, &p->problem_mark, &line, &column);
    if (p->context != NULL) {
        size_t from_line = 0;
        size_t from_column = 0;
        find_place(b, &p->context_mark, &from_line, &from_column);
        diag_add(b->fatal, DIAG_ERROR, b->file, line, column, "",
                 "%s %s that starts at line %zu, column %zu", problem, p->context, from_line,
                 from_column);
    } else {
        diag_add(b->fatal, DIAG_ERROR, b->file, line, column, "", "%s", problem);
    }
}

/* Moves to the next event; -1 after a syntax error. */
static int advance(struct builder *b)
{
    yaml_event_delete(&b->event);
    if (yaml_parser_parse(&b->parser, &b->event) == 0) {
        report_parser_error(b);
        return -1;
    }
    return 0;
}

/* Counts what is added to the expanded document, -1 past a bound. */
static int charge(struct builder *b, size_t nodes, size_t bytes)
{
    b->nodes += nodes;
    b->bytes += bytes;
    if (b->nodes > YAML_DOC_MAX_NODES * b->bound_factor) {
        give_up(b, &b->event.start_mark, "the document has more than 100000 nodes");
        return -1;
    }
    if (b->bytes > YAML_DOC_MAX_EXPANDED_BYTES * b->bound_factor) {
        give_up(b, &b->event.start_mark,
                "the document has more than 1 MiB with its aliases expanded");
        return -1;
    }
    return 0;
}

static int check_depth(struct builder *b, size_t height)
{
    if (b->depth + height > YAML_DOC_MAX_DEPTH) {
        give_up(b, &b->event.start_mark, "nested deeper than 64 levels");
        return -1;
    }
    return 0;
}

/* Text is cut at the first NUL: nothing here has a use for one. */
static struct doc_node *new_node(struct builder *b, enum doc_kind kind)
{
    struct doc_node *node = xcalloc(1, sizeof(*node));
    node->kind = kind;
    node->line = mark_line(b, &b->event.start_mark);
    node->column = b->event.start_mark.column + 1;
    node->nodes = 1;
    node->next = b->doc->all;
    b->doc->all = node;
    return node;
}

static void set_anchor(struct builder *b, const yaml_char_t *anchor, struct doc_node *node)
{
    if (anchor != NULL) {
        map_put(b->anchors, (const char *) anchor, node);
    }
}

static void check_tag(struct builder *b, const yaml_char_t *tag, const char *const *allowed)
{
    if (tag == NULL || strcmp((const char *) tag, "!") == 0) {
        return;
    }
    for (; *allowed != NULL; allowed++) {
        if (strcmp((const char *) tag, *allowed) == 0) {
            return;
        }
    }
    complain(b, &b->event.start_mark, "the tag '%.100s' is not supported here", (const char *) tag);
}

static struct doc_node *build_scalar(struct builder *b)
{
    static const char *const tags[] = {YAML_STR_TAG,  YAML_INT_TAG,  YAML_FLOAT_TAG,
                                       YAML_BOOL_TAG, YAML_NULL_TAG, NULL};
    struct doc_node *node = new_node(b, DOC_SCALAR);
    const char *tag = (const char *) b->event.data.scalar.tag;
    const char *value = (const char *) b->event.data.scalar.value;
    check_tag(b, b->event.data.scalar.tag, tags);
    if (strlen(value) != b->event.data.scalar.length) {
        complain(b, &b->event.start_mark, "the string holds a NUL character");
    }
    bool is_text = tag != NULL && (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0);
    node->is_plain = b->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !is_text;
    node->value = xstrdup(value);
    node->bytes = strlen(value);
    node->height = 1;
    set_anchor(b, b->event.data.scalar.anchor, node);
    return charge(b, 1, node->bytes) == 0 ? node : NULL;
}

static struct doc_node *new_null(struct builder *b)
{
    struct doc_node *node = new_node(b, DOC_SCALAR);
    node->is_plain = true;
    node->value = xstrdup("");
    node->height = 1;
    return node;
}

static struct doc_node *build_alias(struct builder *b)
{
    const char *name = (const char *) b->event.data.alias.anchor;
    struct doc_node *node = map_get(b->anchors, name);
    if (node == NULL) {
        complain(b, &b->event.start_mark, "the alias '*%.100s' has no anchor before it", name);
        return new_null(b);
    }
    if (node->height == 0) {
        complain(b, &b->event.start_mark, "the alias '*%.100s' stands within its own anchor", name);
        return new_null(b);
    }
    if (check_depth(b, node->height) < 0 || charge(b, node->nodes, node->bytes) < 0) {
        return NULL;
    }
    return node;
}

/* Adds to what a collection is known to hold. */
static void grow_totals(struct doc_node *parent, const struct doc_node *child)
{
    parent->nodes += child->nodes;
    parent->bytes += child->bytes;
}

static size_t height_of(const struct doc_node *node)
{
    size_t height = 0;
    for (size_t i = 0; i < node->count; i++) {
        if (node->items[i]->height > height) {
            height = node->items[i]->height;
        }
    }
    return height + 1;
}

static struct doc_node *build_sequence(struct builder *b)
{
    static const char *const tags[] = {YAML_SEQ_TAG, NULL};
    struct doc_node *node = new_node(b, DOC_SEQUENCE);
    size_t cap = 0;
    check_tag(b, b->event.data.sequence_start.tag, tags);
    set_anchor(b, b->event.data.sequence_start.anchor, node);
    if (charge(b, 1, 0) < 0 || advance(b) < 0) {
        return NULL;
    }
    while (b->event.type != YAML_SEQUENCE_END_EVENT) {
        struct doc_node *item = build_node(b);
        if (item == NULL || advance(b) < 0) {
            return NULL;
        }
        if (node->count == cap) {
            cap = cap > 0 ? cap * 2 : 4;
            node->items = xrealloc(node->items, cap, sizeof(struct doc_node *));
        }
        node->items[node->count++] = item;
        grow_totals(node, item);
    }
    node->height = height_of(node);
    return node;
}

static struct doc_node *find_key(const struct pairs *pairs, const char *key)
{
    if (pairs->by_key != NULL) {
        return map_get(pairs->by_key, key);
    }
    for (size_t i = 0; i < pairs->mapping->count; i++) {
        if (strcmp(pairs->mapping->keys[i]->value, key) == 0) {
            return pairs->mapping->keys[i];
        }
    }
    return NULL;
}

static void add_pair(struct pairs *pairs, struct doc_node *key, struct doc_node *value)
{
    struct doc_node *mapping = pairs->mapping;
    if (mapping->count == pairs->cap) {
        pairs->cap = pairs->cap > 0 ? pairs->cap * 2 : 4;
        mapping->keys = xrealloc(mapping->keys, pairs->cap, sizeof(struct doc_node *));
        mapping->items = xrealloc(mapping->items, pairs->cap, sizeof(struct doc_node *));
    }
    mapping->keys[mapping->count] = key;
    mapping->items[mapping->count] = value;
    mapping->count++;
    grow_totals(mapping, key);
    grow_totals(mapping, value);
    if (pairs->by_key == NULL && mapping->count > SMALL_MAPPING) {
        pairs->by_key = map_new();
        for (size_t i = 0; i + 1 < mapping->count; i++) {
            map_put(pairs->by_key, mapping->keys[i]->value, mapping->keys[i]);
        }
    }
    if (pairs->by_key != NULL) {
        map_put(pairs->by_key, key->value, key);
    }
}

/* The pairs of `from` whose keys are not there yet. */
static int merge_mapping(struct builder *b, struct pairs *pairs, const struct doc_node *from)
{
    for (size_t i = 0; i < from->count; i++) {
        struct doc_node *key = from->keys[i];
        struct doc_node *value = from->items[i];
        if (find_key(pairs, key->value) != NULL) {
            continue;
        }
        if (charge(b, key->nodes + value->nodes, key->bytes + value->bytes) < 0) {
            return -1;
        }
        add_pair(pairs, key, value);
    }
    return 0;
}

/* `<<: *defaults` or `<<: [*a, *b]`, of which the first wins. */
static int merge(struct builder *b, struct pairs *pairs, const struct doc_node *source)
{
    bool is_list = source->kind == DOC_SEQUENCE;
    size_t count = is_list ? source->count : 1;
    for (size_t i = 0; i < count; i++) {
        const struct doc_node *from = is_list ? source->items[i] : source;
        if (from->kind != DOC_MAPPING) {
            diag_add(&b->doc->diag, DIAG_ERROR, b->file, from->line, from->column, "",
                     "'<<' takes a mapping or a list of them, found %s", doc_node_kind_name(from));
        } else if (merge_mapping(b, pairs, from) < 0) {
            return -1;
        }
    }
    return 0;
}

static void take_pair(struct builder *b, struct pairs *pairs, struct doc_node *key,
                      struct doc_node *value)
{
    if (key->kind != DOC_SCALAR) {
        diag_add(&b->doc->diag, DIAG_ERROR, b->file, key->line, key->column, "",
                 "a key is to be a string, found %s", doc_node_kind_name(key));
        return;
    }
    const struct doc_node *first = find_key(pairs, key->value);
    if (first != NULL) {
        diag_add(&b->doc->diag, DIAG_ERROR, b->file, key->line, key->column, "",
                 "the key '%.100s' stands twice, first at line %zu, column %zu", key->value,
                 first->line, first->column);
        return;
    }
    add_pair(pairs, key, value);
}

static bool is_merge_key(const struct doc_node *key)
{
    return key->kind == DOC_SCALAR && key->is_plain && strcmp(key->value, "<<") == 0;
}

/* Reads pairs to the end of the mapping; *ret_merge is the value of a `<<`, which is applied
 * last: what stands in the mapping itself wins wherever it stands. */
static int read_pairs(struct builder *b, struct pairs *pairs, struct doc_node **ret_merge)
{
    while (b->event.type != YAML_MAPPING_END_EVENT) {
        struct doc_node *key = build_node(b);
        if (key == NULL || advance(b) < 0) {
            return -1;
        }
        struct doc_node *value = build_node(b);
        if (value == NULL || advance(b) < 0) {
            return -1;
        }
        if (is_merge_key(key) && *ret_merge == NULL) {
            *ret_merge = value;
        } else {
            take_pair(b, pairs, key, value);
        }
    }
    return 0;
}

static struct doc_node *build_mapping(struct builder *b)
{
    static const char *const tags[] = {YAML_MAP_TAG, NULL};
    struct doc_node *node = new_node(b, DOC_MAPPING);
    struct doc_node *merged = NULL;
    struct pairs pairs = {.mapping = node};
    check_tag(b, b->event.data.mapping_start.tag, tags);
    set_anchor(b, b->event.data.mapping_start.anchor, node);
    if (charge(b, 1, 0) < 0 || advance(b) < 0) {
        return NULL;
    }
    int rc = read_pairs(b, &pairs, &merged);
    if (rc == 0 && merged != NULL) {
        rc = merge(b, &pairs, merged);
    }
    map_free(pairs.by_key);
    if (rc < 0) {
        return NULL;
    }
    node->height = height_of(node);
    return node;
}

/* The node that starts at the current event, whose last event is then the current one. */
static struct doc_node *build_node(struct builder *b)
{
    struct doc_node *node = NULL;
    if (check_depth(b, 1) < 0) {
        return NULL;
    }
    b->depth++;
    if (b->event.type == YAML_MAPPING_START_EVENT) {
        node = build_mapping(b);
    } else if (b->event.type == YAML_SEQUENCE_START_EVENT) {
        node = build_sequence(b);
    } else if (b->event.type == YAML_SCALAR_EVENT) {
        node = build_scalar(b);
    } else {
        b->depth--; /* of an alias the height counts */
        node = build_alias(b);
        b->depth++;
    }
    b->depth--;
    return node;
}

/* Stream start, document start, one node, document end, stream end. */
static int build_document(struct builder *b)
{
    if (advance(b) < 0) {
        return -1;
    }
    if (advance(b) < 0) {
        return -1;
    }
    if (b->event.type == YAML_STREAM_END_EVENT) {
        return 0;
    }
    if (advance(b) < 0) {
        return -1;
    }
    b->doc->root = build_node(b);
    if (b->doc->root == NULL || advance(b) < 0 || advance(b) < 0) {
        return -1;
    }
    /* yaml_text has seen no second document, so this is a bug of ours or of libyaml's. */
    if (b->event.type != YAML_STREAM_END_EVENT) {
        give_up(b, &b->event.start_mark, "the document goes on after its end");
        return -1;
    }
    return 0;
}

static int parse_chunk(struct builder *b, const struct yaml_chunk *chunk)
{
    if (yaml_parser_initialize(&b->parser) == 0) {
        diag_add(b->fatal, DIAG_ERROR, b->file, chunk->line, 1, "", "out of memory");
        return -1;
    }
    CLEANUP(map) struct map *anchors = map_new();
    b->anchors = anchors;
    b->chunk = chunk;
    yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b->parser, (const unsigned char *) chunk->data, chunk->len);
    int rc = build_document(b);
    yaml_event_delete(&b->event);
    yaml_parser_delete(&b->parser);
    return rc;
}

/* What is looked at before libyaml sees a byte. */
static int check_chunk(struct yaml_reader *reader, const struct yaml_chunk *chunk)
{
    if (chunk->len > YAML_DOC_MAX_BYTES * reader->bound_factor) {
        diag_add(reader->diag, DIAG_ERROR, reader->file, chunk->line, 1, "",
                 "the document is longer than 1 MiB");
        return -1;
    }
    if (chunk->directives > MAX_DIRECTIVES) {
        diag_add(reader->diag, DIAG_ERROR, reader->file, chunk->line, 1, "",
                 "more than %d directives before a document", MAX_DIRECTIVES);
        return -1;
    }
    if (chunk->directive_bytes > MAX_DIRECTIVE_BYTES) {
        diag_add(reader->diag, DIAG_ERROR, reader->file, chunk->line, 1, "",
                 "the directives before a document are longer than %d bytes", MAX_DIRECTIVE_BYTES);
        return -1;
    }
    size_t valid = utf8_valid_prefix(chunk->data, chunk->len);
    if (valid < chunk->len) {
        size_t line = 0;
        size_t column = 0;
        yaml_text_place(chunk, valid, &line, &column);
        diag_add(reader->diag, DIAG_ERROR, reader->file, line, column, "",
                 "the byte 0x%02x is not UTF-8", (unsigned) (unsigned char) chunk->data[valid]);
        return -1;
    }
    return 0;
}

/* NULL where the chunk cannot be read or has nothing in it. */
static struct yaml_doc *read_chunk(struct yaml_reader *reader, const struct yaml_chunk *chunk)
{
    if (check_chunk(reader, chunk) < 0) {
        return NULL;
    }
    CLEANUP(buf) struct buf rewritten = {0};
    struct yaml_chunk text = *chunk;
    if (yaml_text_rewrite_json(chunk, &rewritten)) {
        text.data = rewritten.data;
        text.len = rewritten.len;
    }
    CLEANUP(yaml_doc) struct yaml_doc *doc = xcalloc(1, sizeof(*doc));
    doc->offset = (size_t) (chunk->data - reader->data);
    doc->length = chunk->len;
    struct builder b = {
        .file = reader->file,
        .doc = doc,
        .fatal = reader->diag,
        .bound_factor = reader->bound_factor,
    };
    if (parse_chunk(&b, &text) < 0 || doc->root == NULL) {
        return NULL;
    }
    /* `---` and nothing is no document, but a body of `null` is somebody's mistake. */
    bool is_nothing = doc_node_is_null(doc->root) && *doc->root->value == '\0';
    return is_nothing && doc->diag.count == 0 ? NULL : steal_ptr(&doc);
}

void yaml_reader_init(struct yaml_reader *reader, const char *file, const char *data, size_t len,
                      struct diag *diag)
{
    const char *text = len > 0 ? data : "";
    *reader = (struct yaml_reader){.file = file, .data = text, .diag = diag, .bound_factor = 1};
    yaml_text_init(&reader->text, text, len);
}

struct yaml_doc *yaml_reader_next(struct yaml_reader *reader)
{
    struct yaml_chunk chunk;
    while (yaml_text_next(&reader->text, &chunk)) {
        if (!chunk.has_content && chunk.directives == 0) {
            continue;
        }
        if (++reader->documents > YAML_DOC_MAX_DOCUMENTS) {
            diag_add(reader->diag, DIAG_ERROR, reader->file, chunk.line, 1, "",
                     "more than %d documents", YAML_DOC_MAX_DOCUMENTS);
            reader->text.at = reader->text.end;
            return NULL;
        }
        struct yaml_doc *doc = read_chunk(reader, &chunk);
        if (doc != NULL) {
            return doc;
        }
    }
    return NULL;
}
