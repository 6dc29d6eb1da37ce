/* Any bytes as what etcd sends: a stream in pieces of any length gives the same lines as in one,
 * and nothing that is read breaks anything. The first byte is the length of the pieces. */
#include "edgible/err.h"
#include "edgible/etcd_wire.h"
#include "edgible/mem.h"
#include "fuzz.h"

#include <assert.h>
#include <string.h>

struct seen {
    size_t lines, bytes, kvs;
};

static int on_line(void *arg, struct buf *line)
{
    struct seen *seen = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    seen->lines++;
    seen->bytes += line->len;
    if (etcd_answer_read(buf_str(line), line->len, &answer, &err) == 0) {
        for (size_t i = 0; i < answer.count; i++) {
            assert(answer.kvs[i].key[answer.kvs[i].key_len] == '\0');
            assert(answer.kvs[i].value[answer.kvs[i].value_len] == '\0');
            seen->kvs++;
        }
    } else {
        assert(err.code != 0 && err.msg[0] != '\0');
    }
    return 0;
}

static struct seen feed(const char *data, size_t len, size_t piece)
{
    struct etcd_stream stream = {0};
    struct seen seen = {0};
    for (size_t at = 0; at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        assert(etcd_stream_feed(&stream, data + at, n, on_line, &seen, NULL) == 0);
    }
    etcd_stream_fini(&stream);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const char *text = (const char *) data + 1;
    struct seen whole = feed(text, size - 1, size);
    struct seen pieces = feed(text, size - 1, (size_t) data[0] + 1);
    assert(memcmp(&whole, &pieces, sizeof(whole)) == 0);
    return 0;
}
