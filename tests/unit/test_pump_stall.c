/* pump: a file system that hangs, made of a loop-mounted ext4 image that is frozen; and one file
 * that does. */
#include "edgible/pump.h"
#include "test_pump_kit.h"

#include <dirent.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define IMAGE_BYTES (16 * 1024 * 1024)

static bool is_mounted;

static void on_notify(void *arg)
{
    (void) arg;
}

static int freeze(bool on)
{
    CLEANUP(free) char *dir = in_scratch("ice");
    CLEANUP(close_fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return ioctl(fd, on ? FIFREEZE : FITHAW, 0);
}

static int mount_image(void **state)
{
    if (make_scratch(state) < 0) {
        return -1;
    }
    CLEANUP(free) char *image = in_scratch("image");
    CLEANUP(free) char *dir = in_scratch("ice");
    CLEANUP(close_fd) int fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, IMAGE_BYTES) < 0 || mkdir(dir, 0755) < 0) {
        return -1;
    }
    is_mounted = geteuid() == 0 &&
                 run_program((const char *const[8]){"mkfs.ext4", "-q", "-F", image}) == 0 &&
                 run_program((const char *const[8]){"mount", "-o", "loop", image, dir}) == 0;
    return 0;
}

static int unmount_image(void **state)
{
    CLEANUP(free) char *dir = in_scratch("ice");
    if (is_mounted) {
        (void) freeze(false);
        (void) run_program((const char *const[8]){"umount", "-l", dir});
    }
    return remove_scratch(state);
}

static int thaw(void **state)
{
    (void) state;
    if (is_mounted) {
        (void) freeze(false);
    }
    return 0;
}

static void need_image(void)
{
    if (!is_mounted) {
        print_message("no ext4 image can be mounted here (needs root, mkfs.ext4, loop devices)\n");
        skip();
    }
}

static struct pump_log log_of(const char *path)
{
    return (struct pump_log){.file = path, .max_size_bytes = 100000, .max_files = 3, NOBODY_ELSE};
}

/* Waits until each of the counts of events is reached; index: type. */
static bool wait_events(struct pump *pump, struct pump_channel *const *channels,
                        enum pump_event_type type, size_t count, int wait_ms)
{
    size_t seen = 0;
    for (int64_t end = clock_ms() + wait_ms; seen < count && clock_ms() < end; sleep_ms(2)) {
        struct pump_event event;
        while (pump_next_event(pump, &event)) {
            for (size_t i = 0; i < count && event.type == type; i++) {
                seen += event.channel == channels[i] ? 1 : 0;
            }
            strv_fini(&event.lines);
        }
    }
    return seen >= count;
}

static int lane_count(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        CLEANUP(free) char *path = xasprintf("/proc/self/task/%s/comm", entry->d_name);
        CLEANUP(free) char *name = get_file(path, NULL);
        count += name != NULL && strcmp(name, "edgible-log\n") == 0 ? 1 : 0;
    }
    (void) closedir(dir);
    return count;
}

static bool has_file_size(const char *path, off_t size, int wait_ms)
{
    for (int64_t end = clock_ms() + wait_ms; clock_ms() < end; sleep_ms(2)) {
        if (file_size(path) == size) {
            return true;
        }
    }
    return false;
}

static void say(int fd, const char *text)
{
    assert_int_equal(fd_write_all(fd, text, strlen(text), NULL), 0);
}

static int attach(struct pump_channel *ch)
{
    int read_end = -1;
    int write_end = -1;
    assert_int_equal(make_pipe(&read_end, &write_end), 0);
    pump_attach(ch, read_end, 1, false);
    return write_end;
}

/* Three logs on the frozen disk and one elsewhere. */
static void a_frozen_disk_holds_up_its_own_logs_only(void **state)
{
    (void) state;
    need_image();
    struct pump *pump = pump_new(NULL, NULL, on_notify, NULL, NULL);
    struct pump_channel *frozen[3];
    int fds[3];
    for (int i = 0; i < 3; i++) {
        CLEANUP(free) char *path = in_scratch("ice/%d.log", i);
        struct pump_log log = log_of(path);
        frozen[i] = pump_open(pump, &log, NULL);
        fds[i] = attach(frozen[i]);
    }
    assert_true(wait_events(pump, frozen, PUMP_EV_OPENED, 3, 3000));
    CLEANUP(free) char *warm = in_scratch("warm.log");
    struct pump_log log = log_of(warm);
    struct pump_channel *free_ch = pump_open(pump, &log, NULL);
    CLEANUP(close_fd) int free_fd = attach(free_ch);
    assert_true(wait_events(pump, &free_ch, PUMP_EV_OPENED, 1, 3000));

    assert_int_equal(freeze(true), 0);
    for (int i = 0; i < 3; i++) {
        say(fds[i], "held up\n");
    }
    sleep_ms(50);
    say(free_fd, "goes on\n");
    assert_true(has_file_size(warm, 8, 1600));
    assert_true(wait_events(pump, frozen, PUMP_EV_STALLED, 3, 2500));
    /* One tells that a log hangs, the next that its disk does, however many logs that has. */
    assert_int_equal(lane_count(), 3);
    for (int i = 0; i < 20; i++) {
        say(free_fd, "more\n");
        assert_true(has_file_size(warm, 8 + 5 * (i + 1), 200));
    }
    /* What is new works as well, and what is stuck answers later. */
    CLEANUP(free) char *later = in_scratch("later.log");
    struct pump_log later_log = log_of(later);
    struct pump_channel *later_ch = pump_open(pump, &later_log, NULL);
    assert_true(wait_events(pump, &later_ch, PUMP_EV_OPENED, 1, 1000));
    CLEANUP(free) char *on_ice = in_scratch("ice/new.log");
    struct pump_log ice_log = log_of(on_ice);
    struct pump_channel *ice_ch = pump_open(pump, &ice_log, NULL);
    assert_true(wait_events(pump, &ice_ch, PUMP_EV_STALLED, 1, 2500));
    assert_int_equal(lane_count(), 3);
    pump_close(frozen[0]);
    assert_false(wait_events(pump, frozen, PUMP_EV_CLOSED, 1, 200));

    assert_int_equal(freeze(false), 0);
    assert_true(wait_events(pump, &frozen[1], PUMP_EV_RESUMED, 2, 2000));
    for (int i = 0; i < 3; i++) {
        CLEANUP(free) char *path = in_scratch("ice/%d.log", i);
        assert_true(has_file_size(path, 8, 1000));
    }
    for (int i = 0; i < 200 && lane_count() > 1; i++) {
        sleep_ms(10);
    }
    assert_int_equal(lane_count(), 1);
    assert_int_equal(access(on_ice, F_OK), 0);
    for (int i = 0; i < 3; i++) {
        fd_close(&fds[i]);
    }
    pump_free(pump, 2000);
}

/* --- a log that is held up by its own workload: a write from memory whose pages never come -------
 */

struct hold {
    int file;
    int pages_fd;
    char *page;
    pthread_t writer;
};

static void *write_page(void *arg)
{
    const struct hold *hold = arg;
    assert_int_equal(pwrite(hold->file, hold->page, 1, 0), 1);
    return NULL;
}

/* From here on the lock of the file is held. */
static void hold_up(struct hold *hold, const char *path)
{
    struct uffdio_api api = {.api = UFFD_API};
    hold->pages_fd = (int) syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    hold->file = open(path, O_WRONLY | O_CLOEXEC);
    hold->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {
        .range = {.start = (uintptr_t) hold->page, .len = 4096},
        .mode = UFFDIO_REGISTER_MODE_MISSING
    };
    if (hold->pages_fd < 0 || ioctl(hold->pages_fd, UFFDIO_API, &api) < 0) {
        print_message("no userfaultfd here (needs root)\n");
        skip();
    }
    assert_int_equal(ioctl(hold->pages_fd, UFFDIO_REGISTER, &range), 0);
    assert_true(hold->file >= 0);
    assert_int_equal(pthread_create(&hold->writer, NULL, write_page, hold), 0);
    struct pollfd asked = {.fd = hold->pages_fd, .events = POLLIN};
    assert_int_equal(poll(&asked, 1, 5000), 1);
}

static void let_go(struct hold *hold)
{
    struct uffdio_zeropage zero = {
        .range = {.start = (uintptr_t) hold->page, .len = 4096}
    };
    assert_int_equal(ioctl(hold->pages_fd, UFFDIO_ZEROPAGE, &zero), 0);
    assert_int_equal(pthread_join(hold->writer, NULL), 0);
    (void) munmap(hold->page, 4096);
    fd_close(&hold->pages_fd);
    fd_close(&hold->file);
}

/* Two logs of one user that hold their lane up, another of it and two of others, on one disk. */
static void a_log_that_is_held_up_holds_up_no_other_user(void **state)
{
    (void) state;
    static const uid_t uids[5] = {1000, 1000, 1000, 2000, (uid_t) -1};
    char *paths[5];
    struct pump_channel *channels[5];
    int fds[5];
    struct pump *pump = pump_new(NULL, NULL, on_notify, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        paths[i] = in_scratch("held-%d.log", i);
        struct pump_log log = log_of(paths[i]);
        log.owner.uid = uids[i];
        channels[i] = pump_open(pump, &log, NULL);
        fds[i] = attach(channels[i]);
    }
    assert_true(wait_events(pump, channels, PUMP_EV_OPENED, 5, 3000));
    struct hold holds[2];
    hold_up(&holds[0], paths[0]);
    say(fds[0], "held up\n");
    assert_true(wait_events(pump, channels, PUMP_EV_STALLED, 1, 5000));
    for (int i = 1; i < 5; i++) {
        say(fds[i], "goes on\n");
        assert_true(has_file_size(paths[i], 8, 5000));
    }
    hold_up(&holds[1], paths[1]);
    say(fds[1], "held up\n");
    assert_true(wait_events(pump, &channels[1], PUMP_EV_STALLED, 1, 5000));
    for (int i = 3; i < 5; i++) {
        say(fds[i], "goes on\n");
        assert_true(has_file_size(paths[i], 16, 5000));
    }
    let_go(&holds[0]);
    let_go(&holds[1]);
    say(fds[2], "goes on\n");
    assert_true(has_file_size(paths[0], 1 + 8, 5000)); /* and what the lock was held for */
    assert_true(has_file_size(paths[1], 16, 5000));
    assert_true(has_file_size(paths[2], 16, 5000));
    for (int i = 0; i < 1000 && lane_count() > 1; i++) {
        sleep_ms(10);
    }
    assert_int_equal(lane_count(), 1);
    for (int i = 0; i < 5; i++) {
        fd_close(&fds[i]);
        free(paths[i]);
    }
    pump_free(pump, 2000);
}

static void free_gives_up_on_a_frozen_disk(void **state)
{
    (void) state;
    need_image();
    /* In a process of its own: what is left behind is left on purpose. */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct pump *pump = pump_new(NULL, NULL, on_notify, NULL, NULL);
        CLEANUP(free) char *path = in_scratch("ice/give-up.log");
        CLEANUP(free) char *warm = in_scratch("give-up.log");
        struct pump_log log = log_of(path);
        struct pump_log warm_log = log_of(warm);
        struct pump_channel *ch = pump_open(pump, &log, NULL);
        struct pump_channel *warm_ch = pump_open(pump, &warm_log, NULL);
        int fd = attach(ch);
        int warm_fd = attach(warm_ch);
        if (!wait_events(pump, &ch, PUMP_EV_OPENED, 1, 2000) || freeze(true) < 0) {
            _exit(2);
        }
        say(fd, "held up\n");
        sleep_ms(100);
        say(warm_fd, "must land\n");
        int64_t begin = clock_ms();
        pump_free(pump, 2000);
        int64_t took = clock_ms() - begin;
        (void) freeze(false);
        sleep_ms(300); /* the thread left behind comes back, and must not crash */
        _exit(took > 2300 ? 3 : file_size(warm) != 10 ? 4 : 0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_frozen_disk_holds_up_its_own_logs_only, thaw),
        cmocka_unit_test(a_log_that_is_held_up_holds_up_no_other_user),
        cmocka_unit_test_teardown(free_gives_up_on_a_frozen_disk, thaw),
    };
    return cmocka_run_group_tests(tests, mount_image, unmount_image);
}
