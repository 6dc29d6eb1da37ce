/* What the etcd source tells: reports, and that the agent ends. */
#include "reporter.h"
#include "source_etcd_private.h"

#include <errno.h>
#include <stdlib.h>

bool etcd_is_in_contact(const void *arg)
{
    const struct source_etcd *s = arg;
    return s->revision != 0 && s->watch != NULL;
}

static void on_report_done(void *arg, const struct http_answer *http, const struct err *http_err)
{
    struct source_etcd *s = arg;
    CLEANUP(etcd_answer) struct etcd_answer answer = {0};
    struct err err = {0};
    int rc = etcd_session_read(&s->session, http, http_err, &answer, &err);
    http_call_free(steal_ptr(&s->report));
    if (rc < 0 && s->session.authenticate != NULL && s->report_body != NULL) {
        s->is_report_waiting = true;
        return;
    }
    free(steal_ptr(&s->report_body));
    if (rc == 0) {
        etcd_guard_note_report(&s->guard);
    }
    reporter_on_end(s->reporter, rc == 0 ? REPORT_TAKEN : REPORT_FAILED, err.msg, -1);
}

static void send_report(struct source_etcd *s, const char *body)
{
    struct err err = {0};
    struct etcd_request request = {
        .path = "/v3/kv/put", .body = body, .done = on_report_done, .arg = s};
    s->report = etcd_session_call(&s->session, &request, &err);
    if (s->report == NULL) {
        free(steal_ptr(&s->report_body));
        reporter_on_end(s->reporter, REPORT_FAILED, err.msg, -1);
    }
}

void etcd_on_renewed(void *arg)
{
    struct source_etcd *s = arg;
    if (s->is_report_waiting) {
        s->is_report_waiting = false;
        CLEANUP(free) char *body = steal_ptr(&s->report_body);
        send_report(s, body);
    }
}

void etcd_send_report(void *arg, const char *text, size_t len)
{
    struct source_etcd *s = arg;
    /* An etcd that has lost its data must not get one before that is noticed. */
    if (!etcd_is_in_contact(s) && !s->guard.is_gone && !s->session.link.is_stopped) {
        s->was_report_put_off = true;
        reporter_on_end(s->reporter, REPORT_FAILED, "there is no contact with etcd", -1);
        return;
    }
    free(s->report_body);
    s->report_body = etcd_put_text(s->guard.report_key, text, len, 0);
    send_report(s, s->report_body);
}

/* The last report and the end of the lease are under way together. */
static void on_part_ended(void *arg)
{
    struct source_etcd *s = arg;
    if (--s->parts_left == 0) {
        s->on_end(s->on_end_arg);
    }
}

bool etcd_end(struct source *base, loop_fn done, void *arg)
{
    struct source_etcd *s = (struct source_etcd *) base;
    s->on_end = done;
    s->on_end_arg = arg;
    s->parts_left = etcd_online_end(&s->online, on_part_ended, s) ? 1 : 0;
    s->parts_left += reporter_end(s->reporter, on_part_ended, s) ? 1 : 0;
    return s->parts_left > 0;
}
