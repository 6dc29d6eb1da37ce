/* A document's paths are looked up beside the loop, which does not wait for long. */
#include "edgible/admission.h"
#include "edgible/config_read.h"
#include "look.h"

#include <stdlib.h>

/* Of all paths of a document; where thousands are judged, they take some 20 ms. */
#define WAIT_MS 100
/* As if they were a user's: no user has this ID. */
#define OF_DOCUMENTS ((uid_t) -2)

struct job {
    struct policy_config policy;
    struct app_spec *app;
    char *own_user;
    struct admission_load others;
    char *refusal;
};

static void run(void *arg)
{
    struct job *job = arg;
    job->refusal =
        admission_policy_refusal(&job->policy, job->app, job->own_user, &job->others, true);
}

static void free_job(void *arg)
{
    struct job *job = arg;
    config_fini_policy(&job->policy);
    app_spec_free(job->app);
    free(job->own_user);
    free(job->refusal);
    free(job);
}

static struct job *make_job(const struct policy_config *policy, const struct app_spec *app,
                            const char *own_user, const struct admission_load *others)
{
    struct job *job = xcalloc(1, sizeof(*job));
    config_copy_policy(&job->policy, policy);
    job->app = app_spec_copy(app);
    job->own_user = xstrdup(own_user);
    job->others = *others;
    return job;
}

char *admission_refusal_in_time(const struct policy_config *policy, const struct app_spec *app,
                                const char *own_user, const struct admission_load *others)
{
    bool is_over = false;
    char *refusal = NULL;
    if (policy->has_commands || policy->has_write_paths || policy->has_read_paths) {
        struct job *job = make_job(policy, app, own_user, others);
        const struct work_params params = {.run = run, .free_arg = free_job, .arg = job};
        struct work *work = look_start(&params, OF_DOCUMENTS, WAIT_MS, &is_over, NULL);
        refusal = is_over ? steal_ptr(&job->refusal) : NULL;
        if (work == NULL) {
            free_job(job);
        }
        work_free(work);
    }
    return is_over ? refusal : admission_policy_refusal(policy, app, own_user, others, false);
}
