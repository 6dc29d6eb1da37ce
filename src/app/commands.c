#include "commands.h"

#include "edgible/mem.h"
#include "edgible/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct command table[] = {
    {"stack", "validate", "-f FILE|- [--json]", "check v3 documents; needs no agent",
     cmd_stack_validate},
};

void commands_print_usage(int fd)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        (void) dprintf(fd, "  edgible-agent %s %s %s\n      %s\n", table[i].noun, table[i].verb,
                       table[i].usage, table[i].about);
    }
}

int command_usage_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *message = xvasprintf(fmt, ap);
    va_end(ap);
    (void) fprintf(stderr, "edgible: %s\nTry 'edgible-agent --help'.\n", message);
    return EXIT_USAGE;
}

static const struct command *find(const char *noun, const char *verb)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].noun, noun) == 0 && strcmp(table[i].verb, verb) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

static const char *nearest_noun(const char *noun)
{
    const char *names[ARRAY_LEN(table)];
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        names[i] = table[i].noun;
    }
    return parse_nearest(noun, names, ARRAY_LEN(table));
}

/* The verb of this noun that is nearest, the first one where none is near; NULL: no such noun. */
static const char *nearest_verb(const char *noun, const char *verb)
{
    const char *names[ARRAY_LEN(table)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].noun, noun) == 0) {
            names[count++] = table[i].verb;
        }
    }
    const char *near = count > 0 ? parse_nearest(verb, names, count) : NULL;
    return near != NULL || count == 0 ? near : names[0];
}

int commands_run(int argc, char **argv)
{
    const char *noun = argv[0];
    const char *verb = argc > 1 ? argv[1] : "";
    const struct command *command = find(noun, verb);
    if (command != NULL) {
        return command->run(argc - 1, argv + 1);
    }
    const char *near_verb = nearest_verb(noun, verb);
    if (near_verb != NULL) {
        return command_usage_error("'%s %s' is no command; did you mean '%s %s'?", noun, verb, noun,
                                   near_verb);
    }
    const char *near_noun = nearest_noun(noun);
    if (near_noun != NULL) {
        return command_usage_error("'%s' is no command; did you mean '%s'?", noun, near_noun);
    }
    return command_usage_error("'%s' is no command", noun);
}
