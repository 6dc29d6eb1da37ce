/*
 * The inside of the server, shared by server.c (requests and answers, on libmicrohttpd) and
 * server_socket.c (the socket, and who connects).
 */
#ifndef EDGIBLE_SERVER_PRIVATE_H
#define EDGIBLE_SERVER_PRIVATE_H

#include "edgible/server.h"

/* A new socket that listens at path; mode and group are as they are to be before it does. */
int server_socket_open(const char *path, gid_t group, struct err *err) MUST_CHECK;
/* -1 where it cannot be told who that is. */
int server_socket_read_peer(int fd, struct server_peer *ret);
/* A whole answer that refuses, as far as the socket takes it without waiting. */
void server_socket_refuse(int fd, unsigned status, const char *title, const char *detail);
/* The problem document of such an answer; the caller frees. */
char *server_problem_text(unsigned status, const char *title, const char *detail);

#endif
