/*
 * show_state [--no-env]: prints what a program inherits, a line each, in a fixed order.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void show_status(void)
{
    static const char *const wanted[] = {
        "SigBlk:", "SigIgn:", "SigCgt:", "CapInh:", "CapAmb:", "NoNewPrivs:"};
    FILE *file = fopen("/proc/self/status", "re");
    char line[4096];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
            size_t len = strlen(wanted[i]);
            if (strncmp(line, wanted[i], len) == 0) {
                (void) printf("%.*s=%s", (int) len - 1, line, line + len + 1);
            }
        }
    }
    if (file != NULL) {
        (void) fclose(file);
    }
}

/* A pipe is "pipe", a file its path. */
static void show_fd(DIR *dir, const char *name)
{
    char target[256];
    ssize_t len = readlinkat(dirfd(dir), name, target, sizeof(target) - 1);
    if (len < 0) {
        return;
    }
    target[len] = '\0';
    target[strcspn(target, ":")] = '\0';
    (void) printf("fd=%s %s\n", name, target);
}

static void show_fds(void)
{
    struct dirent **names = NULL;
    DIR *dir = opendir("/proc/self/fd");
    int count = scandir("/proc/self/fd", &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        /* Not those that reading them takes: our own, and scandir's, which is closed by now. */
        if (names[i]->d_name[0] != '.' && strtol(names[i]->d_name, NULL, 10) != dirfd(dir)) {
            show_fd(dir, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    (void) closedir(dir);
}

static void show_ids(void)
{
    gid_t groups[1024];
    uid_t uid[3];
    gid_t gid[3];
    int count = getgroups(1024, groups);
    (void) getresuid(&uid[0], &uid[1], &uid[2]);
    (void) getresgid(&gid[0], &gid[1], &gid[2]);
    (void) printf("uid=%u %u %u\n", uid[0], uid[1], uid[2]);
    (void) printf("gid=%u %u %u\n", gid[0], gid[1], gid[2]);
    (void) printf("groups=");
    for (int i = 0; i < count; i++) {
        (void) printf("%s%u", i > 0 ? " " : "", groups[i]);
    }
    (void) printf("\n");
}

static void show_limits(void)
{
    struct rlimit files;
    int death = 0;
    (void) getrlimit(RLIMIT_NOFILE, &files);
    (void) printf("nofile=%llu %llu\n", (unsigned long long) files.rlim_cur,
                  (unsigned long long) files.rlim_max);
    mode_t mask = umask(0);
    (void) printf("umask=%03o\n", mask);
    errno = 0;
    (void) printf("nice=%d\n", getpriority(PRIO_PROCESS, 0));
    (void) prctl(PR_GET_PDEATHSIG, &death);
    (void) printf("pdeathsig=%d\n", death);
    FILE *file = fopen("/proc/self/oom_score_adj", "re");
    char line[32] = "?\n";
    if (file != NULL) {
        (void) !fgets(line, sizeof(line), file);
        (void) fclose(file);
    }
    (void) printf("oom_score_adj=%s", line);
}

/* The line of cgroup v2. */
static void show_cgroup(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[4096];
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "0::", 3) == 0) {
            (void) printf("cgroup=%s", line);
        }
    }
    if (file != NULL) {
        (void) fclose(file);
    }
}

int main(int argc, char **argv)
{
    char cwd[4096] = "?";
    show_status();
    show_fds();
    (void) printf("leader=%s %s\n", getsid(0) == getpid() ? "session" : "-",
                  getpgrp() == getpid() ? "group" : "-");
    show_ids();
    show_limits();
    show_cgroup();
    (void) !getcwd(cwd, sizeof(cwd));
    (void) printf("cwd=%s\n", cwd);
    for (int i = 0; i < argc; i++) {
        (void) printf("argv=%s\n", argv[i]);
    }
    if (argc < 2 || strcmp(argv[1], "--no-env") != 0) {
        for (char **entry = environ; *entry != NULL; entry++) {
            (void) printf("env=%s\n", *entry);
        }
    }
    return 0;
}
