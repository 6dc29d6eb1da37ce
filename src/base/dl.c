#include "edgible/dl.h"

#include <dlfcn.h>
#include <string.h>

int dl_load(const struct dl_library *library, void *table, struct err *err)
{
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; handle != NULL && i < library->count; i++) {
        if (dlsym(handle, library->functions[i].name) == NULL) {
            handle = NULL;
        }
    }
    if (handle == NULL) {
        return err_set(err, ERR_HOST, "cannot load a library: %s; install %s", dlerror(),
                       library->package);
    }
    for (size_t i = 0; i < library->count; i++) {
        void *function = dlsym(handle, library->functions[i].name);
        memcpy((char *) table + library->functions[i].offset, &function, sizeof(function));
    }
    return 0;
}
