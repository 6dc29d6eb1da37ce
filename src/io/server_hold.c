/* Answers that come after the handler's call. */
#include "server_private.h"

void server_hold(struct server_request *request)
{
    request->is_held = true;
}

void server_suspend_held(struct server_request *request)
{
    list_add_tail(&request->connection->server->later, &request->link);
    MHD_suspend_connection(request->mhd);
}

static void resume(struct server_request *request)
{
    list_remove(&request->link);
    MHD_resume_connection(request->mhd);
}

void server_respond(struct server_request *request, unsigned status,
                    struct MHD_Response *take_response)
{
    if (list_is_empty(&request->link)) {
        (void) MHD_queue_response(request->mhd, status, take_response);
        MHD_destroy_response(take_response);
        return;
    }
    request->status = status;
    request->response = take_response;
    resume(request);
    server_run_soon(request->connection->server);
}

void server_send_held(struct server_request *request)
{
    if (request->response != NULL) {
        server_drop_body(request);
        (void) MHD_queue_response(request->mhd, request->status, request->response);
        MHD_destroy_response(steal_ptr(&request->response));
    }
}

void server_resume_all_held(struct server *server)
{
    list_each (it, &server->later) {
        resume(list_entry(it, struct server_request, link));
    }
}
