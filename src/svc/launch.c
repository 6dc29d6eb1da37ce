/* Everything that a start looks up, in one go and on a thread. */
#include "launch.h"

#include "edgible/admission.h"
#include "edgible/config_read.h"
#include "edgible/fd.h"
#include "edgible/sandbox.h"
#include "edgible/spawn.h"
#include "look.h"
#include "workload_private.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* As long as the loop waits for it: most looks take a tenth of that. */
#define WAIT_MS 5

/* What the thread works on: all of it its own. */
struct job {
    struct launch *launch; /* for the loop's thread */
    struct workload_spec spec;
    struct policy_config policy;
    char *own_user;
    uid_t user;
    bool is_check;
    unsigned steps_left;         /* what may be opened for its paths */
    _Atomic(const char *) field; /* that is looked up just now */
    struct launch_found found;
    struct err err;
};

struct launch {
    struct job *job;   /* the work's; owned where there is none */
    struct work *work; /* NULL: no path had to be looked up */
    bool is_over;
    mono_ms since;
    loop_fn done;
    void *arg;
};

static void free_job(void *arg)
{
    struct job *job = arg;
    strv_fini(&job->found.paths);
    doc_path_fini(&job->found.program);
    doc_path_fini(&job->found.folder);
    fd_close(&job->found.sandbox_fd);
    workload_spec_fini(&job->spec);
    config_fini_policy(&job->policy);
    free(job->own_user);
    free(job);
}

/* --- on the thread -------------------------------------------------------------------------------
 */

static int refuse(struct job *job, char *take_sentence)
{
    CLEANUP(free) char *sentence = take_sentence;
    return sentence == NULL ? 0
                            : err_set(&job->err, ERR_SPEC, "refused by the policy: %s", sentence);
}

/* Links of its user give it nothing that it has not: what they lead to is judged. */
static struct doc_path_rules make_rules(struct job *job)
{
    return (struct doc_path_rules){
        .has_user = true, .user = job->user, .steps_left = &job->steps_left};
}

/* A path that cannot be opened need not be refused: the start fails of it, with its own reason. */
static int open_path(struct job *job, const char *path, const char *key, struct doc_path *ret)
{
    struct err why = {0};
    const struct doc_path_rules rules = make_rules(job);
    if (doc_path_open(path, &rules, ret, &why) == 0 || why.code != ERR_SPEC) {
        return 0;
    }
    return refuse(job, xasprintf("%s: %s", key, why.msg));
}

/* One of the paths that the command can mean; the caller frees. */
static char *absolute_path(const struct job *job, size_t i)
{
    const char *folder = job->spec.working_dir != NULL ? job->spec.working_dir : "/";
    const char *item = job->found.paths.items[i];
    return item[0] == '/' ? xstrdup(item) : xasprintf("%s/%s", folder, item);
}

static int check_program(struct job *job)
{
    struct launch_found *found = &job->found;
    for (size_t i = 0; i < found->paths.count && found->program.fd < 0; i++) {
        CLEANUP(free) char *absolute = absolute_path(job, i);
        if (open_path(job, absolute, "policy.commands", &found->program) < 0) {
            return -1;
        }
    }
    if (found->program.fd < 0) {
        strv_fini(&found->paths); /* what was not there is not run, should it come just now */
        return 0;
    }
    if (refuse(job, admission_program_refusal(&job->policy, found->program.path)) < 0) {
        return -1;
    }
    strv_fini(&found->paths);
    strv_add(&found->paths, found->program.path);
    /* Not where an ordinary user's agent alone can change it: its workloads can, too. */
    found->runs_fd = !doc_path_is_settled(found->program.path, 0);
    return 0;
}

static int check_folder(struct job *job)
{
    struct doc_path *folder = &job->found.folder;
    const char *given = job->spec.working_dir;
    job->found.is_folder_known = given != NULL;
    if (given == NULL) {
        return 0;
    }
    if (open_path(job, given, "policy.writePaths", folder) < 0) {
        return -1;
    }
    return folder->fd < 0 ? 0 : refuse(job, admission_write_refusal(&job->policy, folder->path));
}

static int check_log(struct job *job)
{
    struct err reason = {0};
    const struct doc_path_rules rules = make_rules(job);
    CLEANUP(doc_path) struct doc_path log = {.fd = -1};
    if (job->spec.log_file == NULL || workload_spec_has_no_log(&job->spec)) {
        return 0;
    }
    return refuse(job, doc_path_find(job->spec.log_file, &rules, &log, &reason) == 0
                           ? admission_write_refusal(&job->policy, log.path)
                           : xasprintf("policy.writePaths: %s", reason.msg));
}

/* The program that the command most likely means; the caller frees. */
static char *guess_program(struct job *job)
{
    const struct doc_path_rules rules = make_rules(job);
    for (size_t i = 0; i < job->found.paths.count; i++) {
        CLEANUP(free) char *path = absolute_path(job, i);
        struct stat st;
        CLEANUP(close_fd) int fd = doc_path_open_fd(path, &rules, NULL);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0) {
            return steal_ptr(&path);
        }
    }
    return NULL;
}

/* Best effort: where the kernel has no Landlock the workload runs without, which is reported. */
static void open_sandbox(struct job *job)
{
    const struct sandbox_spec *spec = &job->spec.sandbox;
    struct launch_found *found = &job->found;
    if (!spec->present || sandbox_version() == 0) {
        return;
    }
    CLEANUP(free) char *program = guess_program(job);
    struct sandbox_request request = {
        .read = &spec->read,
        .write = &spec->write,
        .connect = spec->connect,
        .connect_count = spec->connect_count,
        .limit_connect = spec->has_connect,
        .program = program,
        .working_dir = job->spec.working_dir,
        .allowed = job->policy.has_read_paths ? &job->policy.read_paths : NULL};
    found->has_filter = syscall_filter_is_available();
    syscall_filter_make(&found->filter, request.limit_connect);
    found->sandbox_fd = sandbox_open(&request, &job->err);
}

/* Where it hangs, the loop tells of this field. */
static void note(struct job *job, const char *field)
{
    atomic_store(&job->field, field);
}

static int judge(struct job *job)
{
    const struct policy_config *policy = &job->policy;
    note(job, "a path of its sandbox or PATH");
    if (refuse(job, admission_start_refusal(policy, &job->spec, job->own_user)) < 0) {
        return -1;
    }
    note(job, job->is_check ? "its healthCheck's program" : "its program");
    if (policy->has_commands && check_program(job) < 0) {
        return -1;
    }
    note(job, "its workingDir");
    if (policy->has_write_paths && check_folder(job) < 0) {
        return -1;
    }
    note(job, "its logFile");
    return policy->has_write_paths ? check_log(job) : 0;
}

static void run(void *arg)
{
    struct job *job = arg;
    if (judge(job) == 0) {
        note(job, "its program, or a path of its sandbox");
        open_sandbox(job);
    }
}

/* --- in the loop ---------------------------------------------------------------------------------
 */

static void on_done(void *arg)
{
    struct launch *launch = ((struct job *) arg)->launch;
    launch->is_over = true;
    launch->done(launch->arg);
}

/* Nothing is looked up yet. */
static struct job *make_job(const struct workload *w, bool is_check)
{
    struct job *job = xcalloc(1, sizeof(*job));
    const struct strv *command = is_check ? &w->spec.health.command : &w->spec.command;
    job->found.program.fd = -1;
    job->found.folder.fd = -1;
    job->found.sandbox_fd = -1;
    job->is_check = is_check;
    spawn_find_paths(command->items[0], admission_search_path(&w->spec), &job->found.paths);
    return job;
}

static void copy_for_thread(struct job *job, const struct workload *w)
{
    workload_spec_copy(&job->spec, &w->spec);
    config_copy_policy(&job->policy, w->ctx->policy);
    job->own_user = xstrdup(w->ctx->own_creds != NULL ? w->ctx->own_creds->user : "");
    job->user = w->creds->uid;
    job->steps_left = ADMISSION_STEPS_MAX;
}

struct launch *launch_new(const struct workload *w, bool is_check, loop_fn done, void *arg,
                          struct err *err)
{
    struct launch *launch = xcalloc(1, sizeof(*launch));
    struct job *job = make_job(w, is_check);
    *launch = (struct launch){.job = job, .since = loop_now(), .done = done, .arg = arg};
    job->launch = launch;
    if (!w->ctx->policy->present && !w->spec.sandbox.present) {
        launch->is_over = true; /* there is nothing to judge, and no path to look up */
        return launch;
    }
    copy_for_thread(job, w);
    const struct work_params params = {
        .loop = w->ctx->loop, .run = run, .done = on_done, .free_arg = free_job, .arg = job};
    launch->work = look_start(&params, job->user, WAIT_MS, &launch->is_over, err);
    if (launch->work == NULL) {
        launch_free(launch);
        return NULL;
    }
    return launch;
}

void launch_free(struct launch *launch)
{
    if (launch == NULL) {
        return;
    }
    if (launch->work != NULL) {
        work_free(launch->work);
    } else {
        free_job(launch->job);
    }
    free(launch);
}

bool launch_is_over(const struct launch *launch)
{
    return launch->is_over;
}

bool launch_is_check(const struct launch *launch)
{
    return launch->job->is_check;
}

mono_ms launch_deadline(const struct launch *launch)
{
    return launch->since + LOOK_MS;
}

int launch_hangs(const struct launch *launch, struct err *err)
{
    return err_set(err, ERR_HOST,
                   "%s has not answered for %lld s: its file system hangs, or somebody keeps the "
                   "lock of a folder on the way",
                   atomic_load(&launch->job->field),
                   (long long) (loop_now() - launch->since) / 1000);
}

struct launch_found *launch_take(struct launch *launch, struct err *err)
{
    struct job *job = launch->job;
    if (job->err.code == 0) {
        return &job->found;
    }
    *err = job->err;
    return NULL;
}
