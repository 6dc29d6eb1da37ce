/* Loading libcurl. */
#include "edgible/dl.h"
#include "edgible/mem.h"
#include "http_private.h"

#include <stddef.h>

#define FUNCTION(name) DL_FUNCTION(struct http_curl, "curl_", name)

static const struct dl_function functions[] = {
    FUNCTION(global_init),         FUNCTION(global_cleanup),      FUNCTION(easy_init),
    FUNCTION(easy_setopt),         FUNCTION(easy_getinfo),        FUNCTION(easy_perform),
    FUNCTION(easy_cleanup),        FUNCTION(easy_strerror),       FUNCTION(multi_init),
    FUNCTION(multi_cleanup),       FUNCTION(multi_setopt),        FUNCTION(multi_add_handle),
    FUNCTION(multi_remove_handle), FUNCTION(multi_socket_action), FUNCTION(multi_info_read),
    FUNCTION(slist_append),        FUNCTION(slist_free_all),      FUNCTION(easy_pause),
};

const struct http_curl *http_curl_load(struct err *err)
{
    static const struct dl_library library = {
        .file = "libcurl.so.4",
        .package = "libcurl4",
        .functions = functions,
        .count = ARRAY_LEN(functions),
    };
    static struct http_curl table; /* of the loop's thread, or a command's only one */
    if (table.easy_init == NULL && dl_load(&library, &table, err) < 0) {
        return NULL;
    }
    return &table;
}
