#include "edgible/log_place.h"

#include <pthread.h>
#include <stdlib.h>

struct log_place {
    pthread_mutex_t lock;
    unsigned refs;
    struct log_standing now;
};

struct log_place *log_place_new(void)
{
    struct log_place *place = xcalloc(1, sizeof(*place));
    (void) pthread_mutex_init(&place->lock, NULL);
    place->refs = 1;
    return place;
}

struct log_place *log_place_ref(struct log_place *place)
{
    if (place != NULL) {
        (void) pthread_mutex_lock(&place->lock);
        place->refs++;
        (void) pthread_mutex_unlock(&place->lock);
    }
    return place;
}

void log_place_unref(struct log_place *place)
{
    if (place == NULL) {
        return;
    }
    (void) pthread_mutex_lock(&place->lock);
    bool is_last = --place->refs == 0;
    (void) pthread_mutex_unlock(&place->lock);
    if (is_last) {
        (void) pthread_mutex_destroy(&place->lock);
        free(place);
    }
}

struct log_standing log_place_read(struct log_place *place)
{
    (void) pthread_mutex_lock(&place->lock);
    struct log_standing now = place->now;
    (void) pthread_mutex_unlock(&place->lock);
    return now;
}

static void set_busy(struct log_place *place, bool busy)
{
    if (place != NULL) {
        (void) pthread_mutex_lock(&place->lock);
        place->now.is_busy = busy;
        (void) pthread_mutex_unlock(&place->lock);
    }
}

void log_place_begin(struct log_place *place)
{
    set_busy(place, true);
}

void log_place_end(struct log_place *place)
{
    set_busy(place, false);
}

void log_place_move(struct log_place *place, uint64_t inode, uint64_t old_bytes, bool is_ours)
{
    if (place != NULL) {
        (void) pthread_mutex_lock(&place->lock);
        place->now.inode = inode;
        if (is_ours) {
            place->now.rotations++;
            place->now.start += old_bytes;
        } else {
            place->now.epoch++;
        }
        (void) pthread_mutex_unlock(&place->lock);
    }
}

void log_place_close(struct log_place *place)
{
    if (place != NULL) {
        (void) pthread_mutex_lock(&place->lock);
        place->now.is_closed = true;
        (void) pthread_mutex_unlock(&place->lock);
    }
}
