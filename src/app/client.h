/*
 * client: what the commands ask of an agent, and how they say what it answers.
 */
#ifndef EDGIBLE_CLIENT_H
#define EDGIBLE_CLIENT_H

#include "commands.h"
#include "edgible/buf.h"
#include "edgible/http.h"
#include "edgible/json_doc.h"

/* The path of the agent's socket; NULL after it was said what is wrong (*ret_code). The caller
 * frees. */
char *client_socket(const struct command_options *options, int *ret_code);

/* One request. EXIT_OK and the answer's JSON in *ret (NULL where the caller does not want it), or
 * what the command is to exit with, after it has been said on stderr. ok_status: a further status
 * that is an answer, such as 503 of health; 0: none. */
int client_call(const struct command_options *options, const char *method, const char *path,
                const struct buf *body, long ok_status, struct json **ret);
int client_get(const struct command_options *options, const char *path, struct json **ret);
/* The status of the answer too; says nothing of a 404. */
int client_find(const struct command_options *options, const char *path, long *ret_status,
                struct json **ret);

/* An answer that goes on; on_data gets it as it comes. */
int client_stream(const struct command_options *options, const char *path, const char *accept,
                  http_data_fn on_data, void *arg);
/* A stream that is gone on with where its connection ends in the middle, as when the agent
 * executes another program: for 10 s another connection is tried for. */
struct client_following {
    char *(*path)(void *arg); /* what is asked next; the caller frees */
    const char *accept;
    http_data_fn on_data;
    void *arg;
    bool has_begun; /* client_follow()'s own: there was an answer */
};
int client_follow(const struct command_options *options, struct client_following *following);
/* The same to stdout. */
int client_stream_out(const struct command_options *options, const char *path);

/* "/v1/applications/NAME" and what follows. The caller frees. */
char *client_app_path(const char *id, const char *rest);

/* "edgible: " and the message, to stderr; returns code. */
int client_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The document as it came, to stdout. */
void client_print_json(const struct json *json);

/* Text from elsewhere as a part of one line, wherever it is printed: control characters, ends of
 * lines and tabs as well, become '?'. The caller frees. */
char *client_clean(const char *text);
/* "3 d 4 h", "5 m 3 s", "1.2 s" */
const char *client_format_age(double seconds, char *buf, size_t size);
/* failed, rejected, unhealthy, backoff */
bool client_is_bad(const char *status);
/* What is printed to stdout from here on is in the colour of a status, where stdout takes it. */
void client_color(const struct command_options *options, const char *status);
void client_color_end(const struct command_options *options);
/* The status itself, in its colour. */
void client_print_status(const struct command_options *options, const char *status);

#endif
