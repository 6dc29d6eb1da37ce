/*
 * map: string keys to pointers, open addressing with a per-process random seed (hostile keys
 * cannot make it slow). Keys are copied; values are borrowed. Iteration is in insertion order
 * as long as nothing was removed.
 */
#ifndef EDGIBLE_MAP_H
#define EDGIBLE_MAP_H

#include "edgible/mem.h"

#include <stdbool.h>
#include <stddef.h>

struct map;

struct map *map_new(void);
void map_free(struct map *map);
DEFINE_CLEANUP(map, struct map, map_free)
/* Where the values are the map's own, from malloc: frees them, too. */
void map_free_all(struct map *map);

size_t map_count(const struct map *map);
/* The value, NULL where key is absent. */
void *map_get(const struct map *map, const char *key);
bool map_has(const struct map *map, const char *key);
/* Adds or replaces. value must not be NULL. */
void map_put(struct map *map, const char *key, void *value);
/* Removes; the old value or NULL. */
void *map_remove(struct map *map, const char *key);

/* for (size_t at = 0; map_next(map, &at, &key, &value);) — nothing may be added or removed. */
bool map_next(const struct map *map, size_t *at, const char **ret_key, void **ret_value);

#endif
