/*
 * doc_path: the paths that documents give. This module alone takes them apart and opens them, one
 * component at a time, so that what is judged and used is what was opened.
 *
 * A link is followed only where root, this process's user or a user that the caller names made it,
 * and never one of /proc: what it leads to depends on another process, whose own mounts would give
 * it any name. A walk follows at most 16 links and opens at most 256 components. Where no link is
 * on the way, the kernel may open them all at once: 16 of them count as one of steps_left then.
 */
#ifndef EDGIBLE_DOC_PATH_H
#define EDGIBLE_DOC_PATH_H

#include "edgible/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The text alone, of a relative path, too. -1 with ERR_SPEC where a component is `..`, with
 * ENAMETOOLONG where the kernel takes no path of that length. */
int doc_path_check(const char *path, struct err *err) MUST_CHECK;

/* Takes empty components and those of one dot out of the text, in place. */
void doc_path_make_plain(char *path);

/* A component on the way. */
struct doc_path_spot {
    int folder;       /* the folder that it is in, O_PATH; borrowed */
    const char *name; /* its name there */
    /* Where it begins in the path that was given; NULL: it comes from a link. */
    const char *place;
    const struct stat *st; /* of what is there, which can be a link; NULL: nothing is */
};

/* Asked about a component; -1 with err ends the walk. */
typedef int doc_path_fn(const void *context, const struct doc_path_spot *spot, struct err *err);

struct doc_path_rules {
    bool any_owner; /* links of all users are followed: for what is only told, and judged again */
    bool has_user;
    uid_t user;          /* whose links are followed, too */
    bool closed_folders; /* none in a folder that others can write to, sticky or not */
    /* Links of root alone, and those only where all folders on the way are root's and nobody else
     * can write to them; where `user` is root, none: for a process of `user` that may not go
     * wherever its links lead. */
    bool is_confined;
    const char *end;      /* in the path: no component from here on is opened; NULL: all are */
    unsigned *steps_left; /* what may still be opened, by this walk and others; NULL: no matter */
    const void *context;  /* of the functions, each of which may be NULL */
    doc_path_fn *on_link; /* one that would be followed */
    doc_path_fn *on_own;  /* a component of the path itself, before a link of it is followed */
    doc_path_fn *make;    /* a component of the path itself that is missing: makes it */
};

/* Fills err with ERR_SPEC, where the link is and why it is not followed; -1. */
int doc_path_refuse_link(const struct doc_path_spot *spot, const char *why, struct err *err);

/* What was opened. */
struct doc_path {
    int fd;         /* O_PATH, the caller closes; -1: nothing is there */
    char *path;     /* absolute, without links; owned */
    struct stat st; /* of fd */
};

/*
 * Opens an absolute path. -1 with ERR_SPEC where the path has a `..`, a link on its way is not
 * followed, or it leads through too many folders, with EINVAL where it is not absolute, else with
 * errno. The caller closes.
 */
int doc_path_open_fd(const char *path, const struct doc_path_rules *rules,
                     struct err *err) MUST_CHECK;
/* The same, and asks the kernel for the path of what was opened. */
int doc_path_open(const char *path, const struct doc_path_rules *rules, struct doc_path *ret,
                  struct err *err) MUST_CHECK;
/* The same, but that the end of the path need not exist: *ret has no descriptor then, and of what
 * is missing the components as they were given. A link that leads to nothing is an error. */
int doc_path_find(const char *path, const struct doc_path_rules *rules, struct doc_path *ret,
                  struct err *err) MUST_CHECK;

/* The path, without links, of what is open; NULL with ESTALE where it is no longer there, else with
 * errno's code. The caller frees. */
char *doc_path_of(int fd, struct err *err);

void doc_path_fini(struct doc_path *path);
void cleanup_doc_path(struct doc_path *path);

/* Nobody but root and the user can make a path without links lead to something else: each of its
 * folders is theirs, and no other may write to it. */
bool doc_path_is_settled(const char *path, uid_t user);

#endif
