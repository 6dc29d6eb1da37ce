#include "etcd_intake.h"

#include "edgible/log.h"
#include "edgible/work.h"
#include "source_reading.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WAITING 1024

struct job {
    struct etcd_intake *intake; /* the loop's thread alone */
    struct buf text;
    struct etcd_answer answer;
    struct err err;
    int rc;
};

void etcd_intake_init(struct etcd_intake *intake, struct loop *loop, etcd_intake_fn *fn, void *arg)
{
    *intake = (struct etcd_intake){.loop = loop, .fn = fn, .arg = arg};
}

void etcd_intake_clear(struct etcd_intake *intake)
{
    work_free(steal_ptr(&intake->work));
    loop_timer_free(steal_ptr(&intake->turn));
    for (size_t i = 0; i < intake->count; i++) {
        buf_fini(&intake->waiting[i]);
    }
    free(steal_ptr(&intake->waiting));
    intake->count = intake->bytes = intake->begun_bytes = 0;
    intake->is_held = false;
}

static void free_job(void *arg)
{
    struct job *job = arg;
    buf_fini(&job->text);
    etcd_answer_fini(&job->answer);
    free(job);
}

static void run(void *arg)
{
    struct job *job = arg;
    job->rc = etcd_answer_read(buf_str(&job->text), job->text.len, &job->answer, &job->err);
    buf_fini(&job->text);
}

static void hand_on(struct job *job)
{
    job->intake->fn(job->intake->arg, &job->answer, job->rc < 0 ? &job->err : NULL);
}

static void on_done(void *arg)
{
    struct job *job = arg;
    struct etcd_intake *intake = job->intake;
    struct work *work = steal_ptr(&intake->work);
    intake->begun_bytes = 0;
    hand_on(job);
    work_free(work);
    if (!intake->is_held) {
        etcd_intake_release(intake);
    }
}

static void begin(struct etcd_intake *intake, struct buf *take_text)
{
    struct job *job = xcalloc(1, sizeof(*job));
    job->intake = intake;
    job->text = *take_text;
    *take_text = (struct buf){0};
    struct err err = {0};
    struct work_params params = {
        .loop = intake->loop, .run = run, .done = on_done, .free_arg = free_job, .arg = job};
    if (job->text.len > SOURCE_READING_SHORT_BYTES) {
        size_t len = job->text.len; /* the thread's from here on */
        intake->work = work_start(&params, &err);
        if (intake->work != NULL) {
            intake->begun_bytes = len;
            return;
        }
        log_warn("source", "an answer is read without a thread: %s", err.msg);
    }
    run(job);
    hand_on(job);
    free_job(job);
}

int etcd_intake_add(struct etcd_intake *intake, struct buf *take_text, struct err *err)
{
    if (etcd_intake_is_idle(intake)) {
        begin(intake, take_text);
        return 0;
    }
    if (intake->count == MAX_WAITING ||
        intake->begun_bytes + intake->bytes + take_text->len > ETCD_MAX_BYTES) {
        return err_set(err, EFBIG, "etcd sends changes faster than they can be read");
    }
    intake->waiting = xrealloc(intake->waiting, intake->count + 1, sizeof(*intake->waiting));
    intake->waiting[intake->count++] = *take_text;
    intake->bytes += take_text->len;
    *take_text = (struct buf){0};
    return 0;
}

void etcd_intake_hold(struct etcd_intake *intake)
{
    intake->is_held = true;
}

static void on_turn(void *arg)
{
    etcd_intake_release(arg);
}

void etcd_intake_release(struct etcd_intake *intake)
{
    intake->is_held = false;
    while (intake->count > 0 && intake->work == NULL && !intake->is_held) {
        if (!loop_share_lasts(intake->loop, &intake->share)) {
            if (intake->turn == NULL) {
                intake->turn = loop_timer_new(intake->loop, on_turn, intake);
            }
            loop_timer_arm(intake->turn, 0);
            return;
        }
        CLEANUP(buf) struct buf text = intake->waiting[0];
        intake->count--;
        intake->bytes -= text.len;
        memmove(intake->waiting, intake->waiting + 1, intake->count * sizeof(*intake->waiting));
        begin(intake, &text);
    }
}

bool etcd_intake_is_idle(const struct etcd_intake *intake)
{
    return intake->work == NULL && !intake->is_held && intake->count == 0;
}
