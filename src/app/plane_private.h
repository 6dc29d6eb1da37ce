/*
 * The inside of a plane, shared by plane.c (what is asked), plane_answer.c (what it comes to),
 * plane_https.c and plane_etcd.c (how it is got).
 */
#ifndef EDGIBLE_PLANE_PRIVATE_H
#define EDGIBLE_PLANE_PRIVATE_H

#include "edgible/config.h"
#include "edgible/http.h"
#include "edgible/map.h"
#include "plane.h"

/* What the control plane holds for an application. */
struct plane_doc {
    struct app_spec *spec; /* NULL: it cannot be read */
    char *name;
    int64_t mod_revision; /* of etcd */
};

/* What is known of a device. */
struct plane_device {
    char *name;
    struct plane_doc *docs;
    size_t count;
    struct buf text;     /* all documents */
    char *etag;          /* of the documents as they are; NULL: not told */
    struct json *report; /* the last one; NULL: none */
    bool is_known;       /* the control plane has heard of it, or holds something for it */
    bool has_lease;      /* of etcd, which tells by it whether the device is there … */
    bool is_offline;     /* … as it has run out */
    int64_t server_s;   /* Unix time by the server's clock, when the report was read; 0: not told */
    int64_t reported_s; /* when it took the report, by the same clock; 0: not told */
    mono_ms looked_at;
};

struct plane_change {
    const char *device, *application;
    const char *text; /* the document; NULL: it is to be removed */
    size_t len;
    int64_t mod_revision; /* that it was planned upon; of etcd */
};

struct plane;

/* Each says what went wrong, and returns what to exit with. */
struct plane_ops {
    /* Fills in a device that has its name alone. */
    int (*look)(struct plane *plane, struct plane_device *device);
    int (*change)(struct plane *plane, const struct plane_change *changes, size_t count);
};

struct plane {
    const struct plane_ops *ops;
    const struct command_options *options;
    struct config *config; /* of --config, or made from the options */
    const char *device;    /* the one that is meant; NULL: none was named */
    struct map *devices;   /* name → struct plane_device */
    struct map *homes;     /* application → name of its device, owned */
    struct strv changed;   /* applications that this command has put */
    char *token;           /* of etcd */
    size_t endpoint;       /* of etcd: the one that answered last */
};

extern const struct plane_ops plane_https_ops;
extern const struct plane_ops plane_etcd_ops;

/* EXIT_OK and the device as it is now, no older than a moment. */
int plane_look(struct plane *plane, const char *name, const struct plane_device **ret);
void plane_device_add(struct plane_device *device, const char *origin, const char *text, size_t len,
                      int64_t mod_revision);
const struct plane_doc *plane_find_doc(const struct plane_device *device, const char *name);
/* One request to the control plane; status is the caller's to judge. */
int plane_perform(const struct plane *plane, struct http_request *request,
                  struct http_answer *answer);
/* Says so, and returns what to exit with. */
int plane_fail_status(const struct plane *plane, const struct http_answer *answer,
                      const char *what);

/* plane_answer.c: JSON as the agent's API has it. */
struct json *plane_app_json(const struct plane *plane, const struct plane_device *device,
                            const char *id);
struct json *plane_apps_json(const struct plane *plane, const struct plane_device *device);
struct json *plane_rows_json(const struct plane *plane, const struct plane_device *device);
struct json *plane_health_json(const struct plane *plane, const struct plane_device *device);

#endif
