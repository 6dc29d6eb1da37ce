/* The last lines of the agent's log, in memory, for who asks for them. */
#include "edgible/list.h"
#include "edgible/mem.h"
#include "log_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 8192

struct kept_line {
    enum log_level level;
    char module[32];
    char *text;
    size_t len;
};

struct log_watch {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};

static struct kept_line kept_lines[LOG_KEPT_LINES]; /* line n is at n % LOG_KEPT_LINES */

static struct {
    pthread_mutex_t lock;
    uint64_t first, next; /* numbers of the oldest and of the one to come */
    size_t bytes;
    struct list watches;
} kept = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .watches = {.prev = &kept.watches, .next = &kept.watches}
};

static struct kept_line *line_at(uint64_t number)
{
    return &kept_lines[number % LOG_KEPT_LINES];
}

static void drop_oldest(void)
{
    struct kept_line *line = line_at(kept.first);
    kept.bytes -= line->len;
    free(steal_ptr(&line->text));
    kept.first++;
}

void log_keep(enum log_level level, const char *subsystem, const struct buf *text)
{
    size_t len = text->len < LINE_MAX_BYTES ? text->len : LINE_MAX_BYTES;
    (void) pthread_mutex_lock(&kept.lock);
    while (kept.first < kept.next &&
           (kept.next - kept.first == LOG_KEPT_LINES || kept.bytes + len > LOG_KEPT_BYTES)) {
        drop_oldest();
    }
    struct kept_line *line = line_at(kept.next++);
    line->level = level;
    (void) snprintf(line->module, sizeof(line->module), "%s", subsystem);
    line->text = xstrndup(text->data, len);
    line->len = len;
    kept.bytes += len;
    list_each (it, &kept.watches) {
        const struct log_watch *watch = list_entry(it, struct log_watch, link);
        watch->fn(watch->arg);
    }
    (void) pthread_mutex_unlock(&kept.lock);
}

static bool is_wanted(const struct log_cursor *cursor, const struct kept_line *line)
{
    return line->level <= cursor->level &&
           (cursor->module[0] == '\0' || strcmp(cursor->module, line->module) == 0);
}

void log_cursor_init(struct log_cursor *cursor, size_t lines, enum log_level level,
                     const char *module)
{
    *cursor = (struct log_cursor){.level = level};
    (void) snprintf(cursor->module, sizeof(cursor->module), "%s", module != NULL ? module : "");
    (void) pthread_mutex_lock(&kept.lock);
    cursor->next = kept.next;
    while (cursor->next > kept.first && lines > 0) {
        cursor->next--;
        lines -= is_wanted(cursor, line_at(cursor->next)) ? 1 : 0;
    }
    (void) pthread_mutex_unlock(&kept.lock);
}

bool log_next(struct log_cursor *cursor, struct buf *text)
{
    bool found = false;
    (void) pthread_mutex_lock(&kept.lock);
    cursor->next = cursor->next < kept.first ? kept.first : cursor->next;
    for (; cursor->next < kept.next && !found; cursor->next++) {
        const struct kept_line *line = line_at(cursor->next);
        found = is_wanted(cursor, line);
        if (found) {
            buf_add(text, line->text, line->len);
            if (line->len > 0 && line->text[line->len - 1] != '\n') {
                buf_add_char(text, '\n');
            }
        }
    }
    (void) pthread_mutex_unlock(&kept.lock);
    return found;
}

struct log_watch *log_watch(void (*fn)(void *arg), void *arg)
{
    struct log_watch *watch = xcalloc(1, sizeof(*watch));
    watch->fn = fn;
    watch->arg = arg;
    (void) pthread_mutex_lock(&kept.lock);
    list_add_tail(&kept.watches, &watch->link);
    (void) pthread_mutex_unlock(&kept.lock);
    return watch;
}

void log_unwatch(struct log_watch *watch)
{
    if (watch != NULL) {
        (void) pthread_mutex_lock(&kept.lock);
        list_remove(&watch->link);
        (void) pthread_mutex_unlock(&kept.lock);
        free(watch);
    }
}
