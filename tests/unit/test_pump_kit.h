/* What the tests of logfile and pump share: a scratch folder, files, numbered lines, mounts. */
#ifndef TEST_PUMP_KIT_H
#define TEST_PUMP_KIT_H

#include "edgible/fd.h"
#include "edgible/mem.h"
#include "edgible/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define NOBODY_ELSE .owner = {.uid = (uid_t) -1, .gid = (gid_t) -1}

__attribute__((unused)) static char scratch[64];

__attribute__((unused)) static int64_t clock_ms(void)
{
    struct timespec ts;
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

__attribute__((unused)) static void sleep_ms(long ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void) nanosleep(&ts, NULL);
}

/* A pipe as a workload has it that no other process holds. */
__attribute__((unused)) static int make_pipe(int *ret_read, int *ret_write)
{
    if (pump_make_pipe(ret_read, NULL) < 0) {
        return -1;
    }
    *ret_write = pump_open_pipe_end(*ret_read, false, (uid_t) -1, NULL);
    return *ret_write >= 0 ? 0 : -1;
}

__attribute__((unused)) static int make_scratch(void **state)
{
    (void) state;
    (void) snprintf(scratch, sizeof(scratch), "/tmp/edgible-pump-XXXXXX");
    return mkdtemp(scratch) != NULL ? 0 : -1;
}

__attribute__((unused)) static int remove_one(const char *path, const struct stat *st, int type,
                                              struct FTW *ftw)
{
    (void) st;
    (void) type;
    (void) ftw;
    return remove(path);
}

__attribute__((unused)) static int remove_scratch(void **state)
{
    (void) state;
    (void) nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* A path in the scratch folder; the caller frees. */
__attribute__((unused, format(printf, 1, 2))) static char *in_scratch(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *name = xvasprintf(fmt, ap);
    va_end(ap);
    return xasprintf("%s/%s", scratch, name);
}

/* With the mode of an agent's log. */
__attribute__((unused)) static void put_file(const char *path, const char *text)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text), NULL), 0);
}

/* The file's content, NULL where there is none; the caller frees. */
__attribute__((unused)) static char *get_file(const char *path, size_t *ret_len)
{
    char *data = NULL;
    size_t len = 0;
    if (fd_read_file(AT_FDCWD, path, (size_t) 1 << 30, &data, &len, NULL) < 0) {
        return NULL;
    }
    if (ret_len != NULL) {
        *ret_len = len;
    }
    return data;
}

__attribute__((unused)) static void assert_file(const char *path, const char *text)
{
    CLEANUP(free) char *data = get_file(path, NULL);
    assert_non_null(data);
    assert_string_equal(data, text);
}

__attribute__((unused)) static off_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* Rotated files and the file itself, oldest first, as one text; the caller frees. */
__attribute__((unused)) static char *get_chain(const char *path, size_t *ret_len)
{
    unsigned count = 0;
    for (;; count++) {
        CLEANUP(free) char *name = xasprintf("%s.%u", path, count + 1);
        if (access(name, F_OK) != 0) {
            break;
        }
    }
    char *all = xstrdup("");
    size_t total = 0;
    for (unsigned n = count + 1; n > 0; n--) {
        CLEANUP(free) char *name = n > 1 ? xasprintf("%s.%u", path, n - 1) : xstrdup(path);
        size_t len = 0;
        CLEANUP(free) char *data = get_file(name, &len);
        if (data != NULL) {
            all = xrealloc(all, total + len + 1, 1);
            memcpy(all + total, data, len + 1);
            total += len;
        }
    }
    if (ret_len != NULL) {
        *ret_len = total;
    }
    return all;
}

/* Runs a program to its end, quietly; its exit status. */
__attribute__((unused)) static int run_program(const char *const argv[])
{
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void) dup2(null, STDOUT_FILENO);
        (void) dup2(null, STDERR_FILENO);
        char *args[8] = {NULL};
        memcpy(args, argv, sizeof(args) - sizeof(args[0]));
        (void) execvp(args[0], args);
        _exit(127);
    }
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Mounts a tmpfs of so many bytes on <scratch>/small; false where that is not allowed. */
__attribute__((unused)) static bool mount_small(unsigned bytes)
{
    CLEANUP(free) char *dir = in_scratch("small");
    CLEANUP(free) char *options = xasprintf("size=%u", bytes);
    (void) mkdir(dir, 0755);
    return mount("none", dir, "tmpfs", 0, options) == 0;
}

__attribute__((unused)) static void unmount_small(void)
{
    CLEANUP(free) char *dir = in_scratch("small");
    (void) umount2(dir, MNT_DETACH);
}

#endif
