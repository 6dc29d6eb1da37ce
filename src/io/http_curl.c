/* Loading libcurl. */
#include "edgible/mem.h"
#include "http_private.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#define FUNCTION(name)                                                                             \
    {                                                                                              \
        "curl_" #name, offsetof(struct http_curl, name)                                            \
    }

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
    FUNCTION(global_init),         FUNCTION(global_cleanup),      FUNCTION(easy_init),
    FUNCTION(easy_setopt),         FUNCTION(easy_getinfo),        FUNCTION(easy_perform),
    FUNCTION(easy_cleanup),        FUNCTION(easy_strerror),       FUNCTION(multi_init),
    FUNCTION(multi_cleanup),       FUNCTION(multi_setopt),        FUNCTION(multi_add_handle),
    FUNCTION(multi_remove_handle), FUNCTION(multi_socket_action), FUNCTION(multi_info_read),
    FUNCTION(slist_append),        FUNCTION(slist_free_all),
};

const struct http_curl *http_curl_load(struct err *err)
{
    static struct http_curl lib; /* of the loop's thread, or a command's only one */
    if (lib.easy_init != NULL) {
        return &lib;
    }
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    struct http_curl found = {0};
    for (size_t i = 0; handle != NULL && i < ARRAY_LEN(functions); i++) {
        void *function = dlsym(handle, functions[i].name);
        if (function == NULL) {
            handle = NULL;
        }
        memcpy((char *) &found + functions[i].offset, &function, sizeof(function));
    }
    if (handle == NULL) {
        (void) err_set(err, ERR_HOST, "libcurl cannot be loaded: %s; install libcurl4", dlerror());
        return NULL;
    }
    lib = found;
    return &lib;
}
