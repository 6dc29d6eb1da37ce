/* Runs a fuzz target over the files named, and over all files of the folders named. */
#include "edgible/fd.h"
#include "edgible/mem.h"
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BYTES (16UL * 1024 * 1024)

static size_t files;

static int replay(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void) st;
    (void) ftw;
    if (type != FTW_F) {
        return 0;
    }
    size_t len = 0;
    struct err err = {0};
    CLEANUP(free) char *data = NULL;
    if (fd_read_file(AT_FDCWD, path, MAX_BYTES, &data, &len, &err) < 0) {
        (void) fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    /* A copy of exactly that size, so that a sanitizer sees a read behind the end. */
    CLEANUP(free) char *exact = xmalloc(len);
    memcpy(exact, data, len);
    (void) LLVMFuzzerTestOneInput((const uint8_t *) exact, len);
    files++;
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (nftw(argv[i], replay, 16, FTW_PHYS) != 0) {
            (void) fprintf(stderr, "cannot replay '%s'\n", argv[i]);
            return 1;
        }
    }
    (void) printf("%zu inputs\n", files);
    return files > 0 ? 0 : 1;
}
