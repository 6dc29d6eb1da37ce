/* fs_fuzz: files and folders that must stay as they are, whatever leads to them. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "fs_fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define USERS 1U      /* the user's, else the agent's */
#define SECRET 2U     /* the user may not read it */
#define OPEN 4U       /* others may write to it: owner and mode are what stays */
#define ROOT_ONLY 8U  /* not where agent and user are one */
#define OUTSIDE 16U   /* only a link leads to it from an arena */
#define ARENA 32U     /* no canary */
#define FOR_GROUP 64U /* of the user's group, as an agent makes a log */
#define TEXT_LINES 20
#define CANARY_MAX 64

struct plan {
    const char *path;
    mode_t mode; /* of a folder with S_IFDIR */
    unsigned flags;
};

/* x.log and x.log.1 are names of logs: a log's folder that becomes a link leads to them. */
static const struct plan plans[] = {
    {"out",                S_IFDIR | 0755,  OUTSIDE           },
    {"out/x.log",          0600,            OUTSIDE | SECRET  },
    {"out/x.log.1",        0600,            OUTSIDE | SECRET  },
    {"out/x.log.2",        0666,            OUTSIDE | OPEN    },
    {"out/y.log",          0644,            OUTSIDE           },
    {"out/b",              S_IFDIR | 0755,  OUTSIDE           },
    {"out/b/x.log",        0600,            OUTSIDE | SECRET  },
    {"out/empty",          S_IFDIR | 0755,  OUTSIDE           },
    {"shut",               S_IFDIR | 0700,  OUTSIDE           },
    {"shut/x.log",         0644,            OUTSIDE | SECRET  },
    {"shut/b",             S_IFDIR | 0755,  OUTSIDE           },
    {"shut/b/y.log",       0640,            OUTSIDE | SECRET  },
    {"sticky",             S_IFDIR | 01777, OUTSIDE | OPEN    },
    {"sticky/x.log",       0644,            OUTSIDE           },
    {"sticky/x.log.1",     0600,            OUTSIDE | SECRET  },
    {"sticky/b",           S_IFDIR | 0755,  OUTSIDE           },
    {"sticky/b/x.log",     0600,            OUTSIDE | SECRET  },
    {"hard",               S_IFDIR | 0755,  OUTSIDE           },
    {"hard/secret",        0600,            SECRET            },
    {"hard/plain",         0644,            0                 },
    {"hard/as_made",       0640,            FOR_GROUP         },
    {"other",              S_IFDIR | 0755,  OUTSIDE | USERS   },
    {"other/x.log",        0640,            OUTSIDE | USERS   },
    {"other/x.log.1",      0640,            OUTSIDE | USERS   },
    {"other/y.log",        0644,            OUTSIDE | USERS   },
    {"other/b",            S_IFDIR | 0755,  OUTSIDE | USERS   },
    {"other/b/x.log",      0640,            OUTSIDE | USERS   },
    {"links",              S_IFDIR | 0755,  OUTSIDE           },
    {"plain",              S_IFDIR | 0755,  ARENA | USERS     },
    {"plain/r1",           S_IFDIR | 0755,  ROOT_ONLY         },
    {"plain/r1/x.log",     0600,            ROOT_ONLY | SECRET},
    {"plain/r1/b",         S_IFDIR | 0755,  ROOT_ONLY         },
    {"plain/r1/b/x.log",   0600,            ROOT_ONLY | SECRET},
    {"limited",            S_IFDIR | 0755,  ARENA | USERS     },
    {"limited/r1",         S_IFDIR | 0755,  ROOT_ONLY         },
    {"limited/r1/x.log",   0644,            ROOT_ONLY         },
    {"limited/r1/b",       S_IFDIR | 0755,  ROOT_ONLY         },
    {"limited/r1/b/x.log", 0600,            ROOT_ONLY | SECRET},
    {"logs",               S_IFDIR | 0755,  ARENA             },
    {"steered",            S_IFDIR | 0755,  ARENA | USERS     },
    {"free",               S_IFDIR | 0755,  ARENA | USERS     },
    {"public",             S_IFDIR | 01777, ARENA             },
};

struct canary {
    const struct plan *plan;
    int fd; /* of a folder readable, of a file O_PATH: it is found under any name */
    struct stat st;
    char *text; /* of a file; owned */
    size_t len;
};

static struct canary canaries[CANARY_MAX];
static size_t canary_count;

static char *make_text(const struct ground *ground, const struct plan *plan, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);
    for (int i = 0; i < TEXT_LINES; i++) {
        (void) fprintf(out, "%s of %s, line %d\n",
                       (plan->flags & SECRET) != 0 ? ground->secret : "plain text", plan->path, i);
    }
    /* Rotation takes half a line at the end of a rotated log along, and cuts it off there. */
    (void) fprintf(out, "half a line");
    (void) fclose(out);
    return text;
}

static void make_planned(const struct ground *ground, const struct plan *plan)
{
    CLEANUP(free) char *path = fs_path(ground, plan->path);
    bool is_folder = S_ISDIR(plan->mode);
    struct canary canary = {.plan = plan};
    if (is_folder) {
        canary.fd = mkdir(path, 0700) == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    } else {
        canary.text = make_text(ground, plan, &canary.len);
        canary.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    }
    uid_t uid = (plan->flags & USERS) != 0 ? ground->uid : geteuid();
    gid_t gid = (plan->flags & (USERS | FOR_GROUP)) != 0 ? ground->gid : getegid();
    if (canary.fd < 0 ||
        (!is_folder && fd_write_all(canary.fd, canary.text, canary.len, NULL) < 0) ||
        (ground->is_root && fchown(canary.fd, uid, gid) < 0) ||
        fchmod(canary.fd, plan->mode & 07777) < 0) {
        fs_die(path);
    }
    if ((plan->flags & ARENA) != 0) {
        (void) close(canary.fd);
    } else if (canary_count == CANARY_MAX) {
        fs_die("more canaries than there is room for");
    } else {
        canaries[canary_count++] = canary;
    }
}

void canaries_make(struct ground *ground)
{
    for (size_t i = 0; i < ARRAY_LEN(plans); i++) {
        if (ground->is_root || (plans[i].flags & ROOT_ONLY) == 0) {
            make_planned(ground, &plans[i]);
        }
    }
    CLEANUP(free) char *link = fs_path(ground, "links/in");
    CLEANUP(free) char *deep = fs_path(ground, "links/deep");
    if (symlink("../plain", link) < 0 || symlink("in/a", deep) < 0) {
        fs_die("make links");
    }
    /* All are made: from here on nothing changes. */
    for (size_t i = 0; i < canary_count; i++) {
        if (fstat(canaries[i].fd, &canaries[i].st) < 0) {
            fs_die("look at a canary");
        }
    }
}

static bool has_time_changed(const struct stat *a, const struct stat *b)
{
    return a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

static bool has_text_changed(const struct canary *canary)
{
    CLEANUP(free) char *text = xmalloc(canary->len + 1);
    ssize_t n = pread(canary->fd, text, canary->len + 1, 0);
    return n != (ssize_t) canary->len || memcmp(text, canary->text, canary->len) != 0;
}

/* In what it changed; NULL: in nothing. */
static const char *find_change(const struct canary *canary)
{
    struct stat now;
    const struct stat *was = &canary->st;
    bool is_open = (canary->plan->flags & OPEN) != 0;
    if (fstat(canary->fd, &now) < 0) {
        return "cannot be looked at";
    }
    if (now.st_nlink == 0) {
        return "was removed";
    }
    if (now.st_uid != was->st_uid || now.st_gid != was->st_gid) {
        return "has another owner";
    }
    if (now.st_mode != was->st_mode) {
        return "has another mode";
    }
    if (!is_open && S_ISDIR(was->st_mode) && has_time_changed(&now, was)) {
        return "had names added or removed";
    }
    if (!is_open && S_ISREG(was->st_mode) && has_text_changed(canary)) {
        return "has other content";
    }
    if (!is_open && has_time_changed(&now, was)) {
        return "was written to";
    }
    return NULL;
}

/* A name of the sticky folder's is still the same file. */
static bool has_moved(const struct ground *ground, const struct canary *canary)
{
    struct stat st;
    CLEANUP(free) char *path = fs_path(ground, canary->plan->path);
    return (canary->plan->flags & OUTSIDE) != 0 &&
           (lstat(path, &st) < 0 || st.st_ino != canary->st.st_ino);
}

unsigned canaries_check(const struct ground *ground)
{
    unsigned changed = 0;
    for (size_t i = 0; i < canary_count; i++) {
        const char *change = find_change(&canaries[i]);
        if (change == NULL && has_moved(ground, &canaries[i])) {
            change = "is no longer in its place";
        }
        if (change != NULL) {
            (void) fprintf(stderr, "FAULT: '%s' %s\n", canaries[i].plan->path, change);
            changed++;
        }
    }
    return changed;
}

bool canary_is_outside(const struct stat *st)
{
    for (size_t i = 0; i < canary_count; i++) {
        if ((canaries[i].plan->flags & OUTSIDE) != 0 && canaries[i].st.st_dev == st->st_dev &&
            canaries[i].st.st_ino == st->st_ino) {
            return true;
        }
    }
    return false;
}

const char *canary_some_target(struct ground *ground, enum arena arena)
{
    static const char *const fixed[] = {"a",     "b",           "../a", "..",
                                        "x.log", "/etc/passwd", "/usr", "/proc/self/cwd"};
    static const char *const all[] = {"out/x.log.2", "out/empty",   "sticky", "sticky/b", "hard",
                                      "hard/plain",  "hard/secret", "shut/b", "free"};
    /* The user's own last: without a policy its logs may well lead there. */
    static const char *const best[] = {"out",  "out/b",      "out/x.log", "out/y.log",
                                       "shut", "shut/x.log", "other",     "other/x.log"};
    static char path[512];
    uint32_t count = ARRAY_LEN(best) - (arena == ARENA_PLAIN ? 2 : 0);
    const char *name = fs_chance(ground, 65) ? best[fs_random(ground, count)]
                                             : all[fs_random(ground, ARRAY_LEN(all))];
    /* Paths that are settled are more than the canaries, which may lie below /tmp. */
    bool is_of_paths = arena == ARENA_PLAIN || arena == ARENA_PUBLIC;
    uint32_t kind = fs_random(ground, 20);
    if (is_of_paths && kind > 15) {
        return fs_chance(ground, 50) ? "/etc/passwd" : "/usr";
    }
    if (kind < 2) {
        return fixed[fs_random(ground, ARRAY_LEN(fixed))];
    }
    if (kind == 2) {
        (void) snprintf(path, sizeof(path), "/proc/%d/cwd", (int) ground->agent);
    } else {
        (void) snprintf(path, sizeof(path), "%s/%s", ground->base, name);
    }
    return path;
}

const char *canary_some_hard_link(struct ground *ground, enum arena arena)
{
    static const char *const names[] = {"hard/secret", "hard/plain", "hard/as_made", "other/x.log",
                                        "other/y.log"};
    static char path[512];
    /* By another's name is no harm for a path: those count as outside of it. */
    uint32_t count = arena == ARENA_PLAIN || arena == ARENA_PUBLIC ? 3 : ARRAY_LEN(names);
    (void) snprintf(path, sizeof(path), "%s/%s", ground->base, names[fs_random(ground, count)]);
    return path;
}

bool canary_is_secret(const struct ground *ground, const char *data, size_t len)
{
    return memmem(data, len, ground->secret, strlen(ground->secret)) != NULL;
}
