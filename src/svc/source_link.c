#include "source_link.h"

#include "edgible/clock_record.h"
#include "edgible/reconcile.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t make_seed(void)
{
    uint64_t seed = (uint64_t) loop_now();
    (void) !getrandom(&seed, sizeof(seed), GRND_NONBLOCK);
    return seed;
}

static void on_timer(void *arg)
{
    struct source_link *link = arg;
    link->next_contact = -1;
    link->try(link->arg);
}

static void count_app(void *arg, const struct reconcile_app *app)
{
    size_t *count = arg;
    *count += app->spec != NULL ? 1 : 0;
}

int source_link_init(struct source_link *link, const struct source_params *params,
                     mono_ms interval_ms, loop_fn try, void *arg, struct err *err)
{
    size_t apps = 0;
    *link = (struct source_link){.params = params, .try = try, .arg = arg};
    link->last_contact = -1;
    link->next_contact = -1;
    link_fsm_init(&link->fsm, make_seed());
    link->client = http_client_new(params->loop, err);
    if (link->client == NULL) {
        return -1;
    }
    link->timer = loop_timer_new(params->loop, on_timer, link);
    reconcile_each_app(params->reconcile, count_app, &apps);
    source_link_plan(link, link_fsm_first(&link->fsm, interval_ms, apps > 0));
    return 0;
}

void source_link_fini(struct source_link *link)
{
    http_client_free(link->client);
    loop_timer_free(link->timer);
    free(link->trouble);
    *link = (struct source_link){0};
}

void source_link_plan(struct source_link *link, mono_ms delay_ms)
{
    if (!link->is_stopped) {
        link->next_contact = loop_now() + delay_ms;
        loop_timer_arm(link->timer, link->next_contact);
    }
}

void source_link_stop(struct source_link *link)
{
    link->is_stopped = true;
    link->next_contact = -1;
    loop_timer_disarm(link->timer);
}

/* --- contact -------------------------------------------------------------------------------------
 */

void source_link_found(struct source_link *link)
{
    link_fsm_on_success(&link->fsm);
    source_link_touched(link);
}

void source_link_touched(struct source_link *link)
{
    link->last_contact = loop_now();
    clock_record_keep(link->params->persist);
    if (link->trouble != NULL) {
        free(steal_ptr(&link->trouble));
        struct event event = {.type = EVENT_SOURCE_BACK, .level = LOG_INFO};
        events_emit(link->params->events, &event, "the control plane is back");
    }
}

void source_link_lost(struct source_link *link, mono_ms retry_after_ms, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *reason = xvasprintf(fmt, ap);
    va_end(ap);
    char until[48];
    mono_ms delay = link_fsm_on_failure(&link->fsm, retry_after_ms);
    (void) format_duration(delay, until, sizeof(until));
    source_link_plan(link, delay);
    if (link->trouble == NULL) {
        struct event event = {
            .type = EVENT_SOURCE_LOST,
            .level = LOG_ERROR,
            .fields = (struct log_field[]){{"reason", reason}, {0}},
        };
        events_emit(link->params->events, &event,
                    "no contact with the control plane: %s; everything goes on as it is, tried "
                    "again in %s",
                    reason, until);
    } else if (strcmp(link->trouble, reason) != 0) {
        log_warn("source", "still no contact with the control plane: %s; tried again in %s", reason,
                 until);
    } else {
        log_debug("source", "%s; tried again in %s", reason, until);
    }
    free(link->trouble);
    link->trouble = steal_ptr(&reason);
}

void source_link_describe(const struct source_link *link, struct source_state *ret)
{
    ret->trouble = link->trouble;
    ret->last_contact = link->last_contact;
    ret->next_contact = link->next_contact;
}

/* --- credentials ---------------------------------------------------------------------------------
 */

bool source_link_has_new_files(struct source_link *link)
{
    bool ca = secret_has_changed(link->tls.ca_file, &link->stamps[0]);
    bool cert = secret_has_changed(link->tls.cert_file, &link->stamps[1]);
    bool key = secret_has_changed(link->tls.key_file, &link->stamps[2]);
    return ca || cert || key;
}

int source_link_renew(struct source_link *link, struct err *err)
{
    struct http_client *fresh = http_client_new(link->params->loop, err);
    if (fresh == NULL) {
        return -1;
    }
    http_client_free(link->client);
    link->client = fresh;
    return 0;
}

int source_link_prepare(const struct source_link *link, struct http_request *request,
                        struct err *err)
{
    request->ca_file = link->tls.ca_file;
    request->cert_file = link->tls.cert_file;
    request->key_file = link->tls.key_file;
    return link->tls.key_file != NULL ? secret_check(link->tls.key_file, err) : 0;
}

/* --- what a server asks for ----------------------------------------------------------------------
 */

mono_ms source_link_parse_retry_after(const char *text, int64_t now_unix_ms)
{
    int64_t seconds = 0;
    if (text == NULL) {
        return -1;
    }
    if (text[0] != '\0' && text[strspn(text, "0123456789")] == '\0') {
        bool is_far = parse_int(text, 0, INT32_MAX, &seconds, NULL) < 0;
        return (is_far ? (mono_ms) INT32_MAX : seconds) * 1000;
    }
    if (parse_http_date(text, &seconds, NULL) < 0) {
        return -1;
    }
    mono_ms left = seconds * 1000 - now_unix_ms;
    return left > 0 ? left : 0;
}
