/*
 * list: an intrusive doubly linked list. A struct list is a head when it stands alone and a link
 * when it stands inside an element. Nothing is owned.
 */
#ifndef EDGIBLE_LIST_H
#define EDGIBLE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

/* The element of `type` whose member `member` is at `link`. */
#define list_entry(link, type, member) ((type *) (void *) ((char *) (link) -offsetof(type, member)))

/* Walks the links; the current one may be removed. */
#define list_each(it, head)                                                                        \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

static inline void list_init(struct list *head)
{
    head->prev = head;
    head->next = head;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_add_tail(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Takes the link out and makes it a list of its own; safe to call twice. */
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

#endif
