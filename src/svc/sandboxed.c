/*
 * Which users had workloads in a sandbox in this boot. What an earlier agent left of them can be
 * init's child, and looks like nobody's; so it is remembered until the machine starts anew.
 */
#include "edgible/buf.h"
#include "edgible/parse.h"
#include "supervisor_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A record of this boot: its ID, then a line for each user. */
#define RECORD "sandboxed"
#define ANYBODY "anybody"

static bool is_among(const uid_t *uids, size_t count, uid_t uid)
{
    for (size_t i = 0; i < count; i++) {
        if (uids[i] == uid) {
            return true;
        }
    }
    return false;
}

static void add(struct sandboxed *s, uid_t uid)
{
    s->uids = xrealloc(s->uids, s->count + 1, sizeof(*s->uids));
    s->uids[s->count++] = uid;
}

static void save(const struct supervisor *sup)
{
    const struct sandboxed *s = &sup->sandboxed;
    CLEANUP(buf) struct buf text = {0};
    buf_printf(&text, "%s\n%s", sup->boot_id, s->is_anybody ? ANYBODY "\n" : "");
    for (size_t i = 0; i < s->count; i++) {
        buf_printf(&text, "%llu\n", (unsigned long long) s->uids[i]);
    }
    persist_put_volatile(sup->params.persist, RECORD, buf_str(&text));
}

/* What cannot be understood is anybody. */
static void read_record(struct sandboxed *s, char *text, const char *boot_id)
{
    char *rest = NULL;
    char *line = strtok_r(text, "\n", &rest);
    if (line != NULL && strcmp(line, boot_id) != 0) {
        return;
    }
    s->is_anybody = line == NULL;
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        int64_t uid = 0;
        if (parse_int(line, 0, UINT32_MAX - 1, &uid, NULL) == 0) {
            add(s, (uid_t) uid);
        } else {
            s->is_anybody = true;
        }
    }
}

void sandboxed_init(struct supervisor *sup)
{
    struct sandboxed *s = &sup->sandboxed;
    struct err err = {0};
    size_t len = 0;
    CLEANUP(free) char *text = persist_read_volatile(sup->params.persist, RECORD, &len, &err);
    if (text != NULL) {
        read_record(s, text, sup->boot_id);
    } else if (err.code != ENOENT) {
        s->is_anybody = true;
    }
    s->earlier = s->count;
}

void sandboxed_note(void *arg, uid_t uid, bool is_adopted)
{
    struct supervisor *sup = arg;
    struct sandboxed *s = &sup->sandboxed;
    if (is_among(s->uids, is_adopted ? s->earlier : s->count, uid)) {
        return;
    }
    add(s, uid);
    if (is_adopted) {
        s->uids[s->count - 1] = s->uids[s->earlier];
        s->uids[s->earlier++] = uid;
    }
    save(sup);
}

bool sandboxed_had_earlier(const struct supervisor *sup)
{
    return sup->sandboxed.is_anybody || sup->sandboxed.earlier > 0;
}

bool sandboxed_may_move(const struct supervisor *sup)
{
    const struct sandboxed *s = &sup->sandboxed;
    return s->is_anybody || is_among(s->uids, s->count, geteuid()) ||
           is_among(s->uids, s->count, 0);
}

bool sandboxed_may_be_earlier(const struct supervisor *sup, uid_t uid)
{
    const struct sandboxed *s = &sup->sandboxed;
    return s->is_anybody || is_among(s->uids, s->earlier, uid) || is_among(s->uids, s->earlier, 0);
}
