#include "spawn_block.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096

/* Where the program's own data ends (end(3)); the heap is behind it. */
extern char end[];

static size_t strings_size(char *const *strings)
{
    size_t size = sizeof(char *);
    for (; *strings != NULL; strings++) {
        size += sizeof(char *) + strlen(*strings) + 1;
    }
    return size;
}

static size_t measure(const struct spawn_request *request)
{
    size_t size =
        strings_size(request->argv) + strings_size(request->envp) + strings_size(request->paths);
    size += request->working_dir != NULL ? strlen(request->working_dir) + 1 : 0;
    size += request->creds != NULL ? request->creds->group_count * sizeof(gid_t) : 0;
    return size + 64; /* for alignment */
}

/* Bytes from an address to the next multiple of align. */
static size_t padding(const void *address, size_t align)
{
    return (align - (uintptr_t) address % align) % align;
}

static void *take(char **at, size_t size, size_t align)
{
    char *taken = *at + padding(*at, align);
    *at = taken + size;
    return taken;
}

static char *copy_string(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = take(at, size, 1);
    memcpy(copy, text, size);
    return copy;
}

static char **copy_strings(char **at, char *const *strings)
{
    size_t count = 0;
    while (strings[count] != NULL) {
        count++;
    }
    char **copy = take(at, (count + 1) * sizeof(char *), sizeof(char *));
    for (size_t i = 0; i < count; i++) {
        copy[i] = copy_string(at, strings[i]);
    }
    copy[count] = NULL;
    return copy;
}

/* Only what the child looks at: the names are for others. */
static void copy_creds(struct spawn_block *block, char **at, const struct creds *creds)
{
    size_t size = creds->group_count * sizeof(gid_t);
    block->creds = *creds;
    block->creds.user = NULL;
    block->creds.home = NULL;
    block->creds.shell = NULL;
    block->creds.groups = take(at, size, sizeof(gid_t));
    if (size > 0) {
        memcpy(block->creds.groups, creds->groups, size);
    }
    block->request.creds = &block->creds;
}

int spawn_block_init(struct spawn_block *block, const struct spawn_request *request,
                     struct err *err)
{
    *block = (struct spawn_block){.size = measure(request), .request = *request};
    void *memory =
        mmap(NULL, block->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_set(err, ERR_HOST, "map memory for the new process: %m");
    }
    block->memory = memory;
    char *at = memory;
    block->request.argv = copy_strings(&at, request->argv);
    block->request.envp = copy_strings(&at, request->envp);
    block->request.paths = copy_strings(&at, request->paths);
    if (request->working_dir != NULL) {
        block->request.working_dir = copy_string(&at, request->working_dir);
    }
    if (request->creds != NULL) {
        copy_creds(block, &at, request->creds);
    }
    if (request->filter != NULL) {
        block->filter = *request->filter;
    }
    return 0;
}

void spawn_block_fini(struct spawn_block *block)
{
    if (block->memory != NULL) {
        (void) munmap(block->memory, block->size);
        block->memory = NULL;
    }
}

void cleanup_spawn_block(struct spawn_block *block)
{
    spawn_block_fini(block);
}

static void advise_heap(int advice)
{
    char *from = end + padding(end, PAGE_BYTES);
    char *to = sbrk(0);
    if (to > from) {
        /* The hole between the two makes it say ENOMEM, having done its work (madvise(2)). */
        (void) madvise(from, (size_t) (to - from) / PAGE_BYTES * PAGE_BYTES, advice);
    }
}

void spawn_hide_heap(void)
{
    advise_heap(MADV_DONTFORK);
}

void spawn_show_heap(void)
{
    advise_heap(MADV_DOFORK);
}
