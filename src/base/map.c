#include "edgible/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct entry {
    char *key; /* owned; NULL where removed */
    void *value;
    uint32_t hash;
};

struct map {
    struct entry *entries; /* in insertion order, with holes */
    size_t used;           /* entries in use, holes counted */
    size_t count;
    size_t cap;
    uint32_t *slots; /* entry index + 1, 0 where free */
    size_t slot_count;
    uint32_t seed;
};

/* FNV-1a over the seed: not keyed hashing, but the seed is not known to who writes the keys. */
static uint32_t hash_key(const struct map *map, const char *key)
{
    uint32_t h = 2166136261U ^ map->seed;
    for (const unsigned char *c = (const unsigned char *) key; *c != '\0'; c++) {
        h = (h ^ *c) * 16777619U;
    }
    return h ^ (h >> 15);
}

struct map *map_new(void)
{
    struct map *map = xcalloc(1, sizeof(*map));
    if (getrandom(&map->seed, sizeof(map->seed), GRND_NONBLOCK) < 0) {
        map->seed = (uint32_t) (uintptr_t) map;
    }
    return map;
}

void map_free(struct map *map)
{
    if (map == NULL) {
        return;
    }
    for (size_t i = 0; i < map->used; i++) {
        free(map->entries[i].key);
    }
    free(map->entries);
    free(map->slots);
    free(map);
}

static void insert_slot(struct map *map, uint32_t hash, size_t index)
{
    size_t at = hash & (map->slot_count - 1);
    while (map->slots[at] != 0) {
        at = (at + 1) & (map->slot_count - 1);
    }
    map->slots[at] = (uint32_t) index + 1;
}

/* Makes room for one more entry: drops the holes, grows both arrays, fills the slots anew. */
static void grow(struct map *map)
{
    size_t live = 0;
    for (size_t i = 0; i < map->used; i++) {
        if (map->entries[i].key != NULL) {
            map->entries[live++] = map->entries[i];
        }
    }
    map->used = live;
    map->cap = live < 8 ? 8 : live * 2;
    map->entries = xrealloc(map->entries, map->cap, sizeof(*map->entries));
    free(map->slots);
    map->slot_count = 16;
    while (map->slot_count < map->cap * 2) {
        map->slot_count *= 2;
    }
    map->slots = xcalloc(map->slot_count, sizeof(*map->slots));
    for (size_t i = 0; i < map->used; i++) {
        insert_slot(map, map->entries[i].hash, i);
    }
}

static struct entry *find(const struct map *map, const char *key)
{
    if (map->slot_count == 0) {
        return NULL;
    }
    uint32_t hash = hash_key(map, key);
    size_t at = hash & (map->slot_count - 1);
    for (; map->slots[at] != 0; at = (at + 1) & (map->slot_count - 1)) {
        struct entry *entry = &map->entries[map->slots[at] - 1];
        if (entry->key != NULL && entry->hash == hash && strcmp(entry->key, key) == 0) {
            return entry;
        }
    }
    return NULL;
}

void map_free_all(struct map *map)
{
    size_t at = 0;
    void *value = NULL;
    while (map != NULL && map_next(map, &at, NULL, &value)) {
        free(value);
    }
    map_free(map);
}

size_t map_count(const struct map *map)
{
    return map->count;
}

void *map_get(const struct map *map, const char *key)
{
    const struct entry *entry = find(map, key);
    return entry != NULL ? entry->value : NULL;
}

bool map_has(const struct map *map, const char *key)
{
    return find(map, key) != NULL;
}

void map_put(struct map *map, const char *key, void *value)
{
    struct entry *entry = find(map, key);
    if (entry != NULL) {
        entry->value = value;
        return;
    }
    if (map->used == map->cap) {
        grow(map);
    }
    uint32_t hash = hash_key(map, key);
    map->entries[map->used] = (struct entry){.key = xstrdup(key), .value = value, .hash = hash};
    insert_slot(map, hash, map->used);
    map->used++;
    map->count++;
}

void *map_remove(struct map *map, const char *key)
{
    struct entry *entry = find(map, key);
    if (entry == NULL) {
        return NULL;
    }
    free(entry->key);
    entry->key = NULL;
    map->count--;
    return entry->value;
}

bool map_next(const struct map *map, size_t *at, const char **ret_key, void **ret_value)
{
    while (*at < map->used && map->entries[*at].key == NULL) {
        (*at)++;
    }
    if (*at >= map->used) {
        return false;
    }
    const struct entry *entry = &map->entries[(*at)++];
    if (ret_key != NULL) {
        *ret_key = entry->key;
    }
    if (ret_value != NULL) {
        *ret_value = entry->value;
    }
    return true;
}
