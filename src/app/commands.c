#include "commands.h"

#include "edgible/map.h"
#include "edgible/mem.h"
#include "plane.h"
#include "terminal.h"

#include <getopt.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 100000

/* clang-format off */
static const struct command table[] = {
    {"stack", "validate", "-f FILE|DIR|-...", "check v3 documents; needs no agent",
     "file!", cmd_stack_validate},
    {"stack", "diff", "-f FILE|DIR|-...",
     "what a deploy would change, and which workloads would restart",
     "file!", cmd_stack_diff},
    {"stack", "deploy", "-f FILE|DIR|-... [--no-wait] [--timeout 60s] [--new-device]",
     "put the applications, and wait until they run", "file! no-wait timeout new-device",
     cmd_stack_deploy},
    {"stack", "status", "[-f FILE|DIR|-]...", "the state of those applications, or of all",
     "file", cmd_stack_status},
    {"stack", "teardown", "-f FILE|DIR|-... | --name APP [--no-wait] [--timeout 60s]",
     "remove those applications, and wait until they are gone", "file name no-wait timeout",
     cmd_stack_teardown},
    {"application", "list", "", "all applications of the device", "", cmd_application_list},
    {"application", "get", "-i ID", "one application, by its id or name", "id!",
     cmd_application_get},
    {"application", "events", "-i ID [-n N] [-f]", "what happened to it", "id! lines follow",
     cmd_application_events},
    {"application", "logs", "-i ID [--workload W] [-n N] [-f] [--raw]", "what it printed",
     "id! workload lines follow raw", cmd_application_logs},
    {"application", "restart", "-i ID [--workload W]", "new processes, counters forgiven",
     "id! workload", cmd_application_restart},
    {"application", "update", "-i ID --target-state running|suspended", "suspend or resume it",
     "id! target-state!", cmd_application_update},
    {"application", "why", "-i ID", "why it is in the state it is in, and what happens next",
     "id!", cmd_application_why},
    {"device", "application-health", "[--name DEVICE]", "one row a workload", "name",
     cmd_device_application_health},
    {"device", "health", "[--name DEVICE]", "'Health check OK', or what is wrong", "name",
     cmd_device_health},
    {"agent", "status", "[--watch]", "the agent itself", "watch", cmd_agent_status},
    {"agent", "logs", "[-n N] [-f] [--level L] [--module M] [--raw]", "the agent's own log",
     "lines follow level module raw", cmd_agent_logs},
    {"agent", "set-log-level", "error|warn|info|debug", "until the agent is restarted or reloaded",
     "ARG!", cmd_agent_set_log_level},
};
/* clang-format on */

/* What every command takes besides its own. */
static const char common[] = "socket config control-plane device token-file ca-file cert-file "
                             "key-file json plain help";

enum option_kind { OPTION_TEXT, OPTION_FILE, OPTION_FLAG, OPTION_LINES, OPTION_DURATION };

static const struct {
    const char *name;
    char letter; /* 0: none */
    enum option_kind kind;
    size_t offset;
} known[] = {
    {"socket",        0,   OPTION_TEXT,     offsetof(struct command_options, socket)       },
    {"config",        'c', OPTION_TEXT,     offsetof(struct command_options, config)       },
    {"control-plane", 0,   OPTION_TEXT,     offsetof(struct command_options, control_plane)},
    {"device",        0,   OPTION_TEXT,     offsetof(struct command_options, device)       },
    {"token-file",    0,   OPTION_TEXT,     offsetof(struct command_options, token_file)   },
    {"ca-file",       0,   OPTION_TEXT,     offsetof(struct command_options, ca_file)      },
    {"cert-file",     0,   OPTION_TEXT,     offsetof(struct command_options, cert_file)    },
    {"key-file",      0,   OPTION_TEXT,     offsetof(struct command_options, key_file)     },
    {"file",          'f', OPTION_FILE,     offsetof(struct command_options, files)        },
    {"id",            'i', OPTION_TEXT,     offsetof(struct command_options, id)           },
    {"name",          0,   OPTION_TEXT,     offsetof(struct command_options, name)         },
    {"workload",      'w', OPTION_TEXT,     offsetof(struct command_options, workload)     },
    {"level",         0,   OPTION_TEXT,     offsetof(struct command_options, level)        },
    {"module",        0,   OPTION_TEXT,     offsetof(struct command_options, module)       },
    {"target-state",  0,   OPTION_TEXT,     offsetof(struct command_options, target_state) },
    {"json",          0,   OPTION_FLAG,     offsetof(struct command_options, json)         },
    {"plain",         0,   OPTION_FLAG,     offsetof(struct command_options, plain)        },
    {"raw",           0,   OPTION_FLAG,     offsetof(struct command_options, raw)          },
    {"follow",        'f', OPTION_FLAG,     offsetof(struct command_options, follow)       },
    {"watch",         0,   OPTION_FLAG,     offsetof(struct command_options, watch)        },
    {"no-wait",       0,   OPTION_FLAG,     offsetof(struct command_options, no_wait)      },
    {"new-device",    0,   OPTION_FLAG,     offsetof(struct command_options, new_device)   },
    {"help",          'h', OPTION_FLAG,     offsetof(struct command_options, help)         },
    {"lines",         'n', OPTION_LINES,    offsetof(struct command_options, lines)        },
    {"timeout",       0,   OPTION_DURATION, offsetof(struct command_options, timeout_ms)   },
};

static bool is_noun(const char *noun, const char *word)
{
    return strcmp(noun, word) == 0 ||
           (strcmp(noun, "application") == 0 && strcmp(word, "app") == 0);
}

void commands_print_usage(FILE *to, const char *noun)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (noun == NULL || is_noun(table[i].noun, noun)) {
            (void) fprintf(to, "  edgible %s %s %s\n      %s\n", table[i].noun, table[i].verb,
                           table[i].usage, table[i].about);
        }
    }
}

static void print_options(void)
{
    (void) printf(
        "\nEvery command takes:\n"
        "  --socket PATH   the agent's socket (else $EDGIBLE_SOCKET, else the default)\n"
        "  --config FILE   the agent of that configuration or, where that names one, its\n"
        "                  remote control plane\n"
        "  --control-plane URL   an HTTPS control plane, with --device NAME and, for who\n"
        "                  you are, --token-file, --ca-file, --cert-file and --key-file\n"
        "  --json          one JSON document on stdout, and nothing else\n"
        "  --plain         no colour, no rewriting of lines\n"
        "\nExit codes: 0 done, healthy, no difference · 1 unhealthy, invalid, different, "
        "not found\n2 wrong usage · 3 no answer · 4 refused\n");
}

int command_usage_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    CLEANUP(free) char *message = xvasprintf(fmt, ap);
    va_end(ap);
    (void) fprintf(stderr, "edgible: %s\nTry 'edgible --help'.\n", message);
    return EXIT_USAGE;
}

/* --- options -------------------------------------------------------------------------------------
 */

/* True where the list of words has it; *ret_required where it stands there with a `!`. */
static bool list_has(const char *list, const char *word, bool *ret_required)
{
    size_t len = strlen(word);
    for (const char *at = strstr(list, word); at != NULL; at = strstr(at + 1, word)) {
        bool begins = at == list || at[-1] == ' ';
        if (begins && (at[len] == '\0' || at[len] == ' ' || at[len] == '!')) {
            *ret_required = at[len] == '!';
            return true;
        }
    }
    return false;
}

static bool takes(const struct command *command, size_t option)
{
    bool required = false;
    return list_has(command->takes, known[option].name, &required) ||
           list_has(common, known[option].name, &required);
}

static int unknown_option(const struct command *command, const char *word)
{
    const char *names[ARRAY_LEN(known)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (takes(command, i)) {
            names[count++] = known[i].name;
        }
    }
    CLEANUP(free) char *bare = xstrndup(word, strcspn(word, "="));
    const char *near = parse_nearest(bare + strspn(bare, "-"), names, count);
    return command_usage_error("%s %s: unknown option '%s'%s%s%s", command->noun, command->verb,
                               bare, near != NULL ? "; did you mean '--" : "",
                               near != NULL ? near : "", near != NULL ? "'?" : "");
}

/* The option of this letter, or long name, among those that the command takes; -1: none. */
static int find_option(const struct command *command, int letter, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        bool is_it = name != NULL ? strcmp(known[i].name, name) == 0
                                  : known[i].letter != 0 && known[i].letter == letter;
        if (is_it && takes(command, i)) {
            return (int) i;
        }
    }
    return -1;
}

static int set_option(const struct command *command, size_t option, const char *value,
                      struct command_options *options)
{
    void *target = (char *) options + known[option].offset;
    struct err err = {0};
    switch (known[option].kind) {
    case OPTION_TEXT:
        *(const char **) target = value;
        return 0;
    case OPTION_FILE:
        if (strcmp(value, "-") == 0 && strv_has(target, value)) {
            return command_usage_error("%s %s: standard input can be read once only, and is named "
                                       "twice",
                                       command->noun, command->verb);
        }
        strv_add(target, value);
        return 0;
    case OPTION_FLAG:
        *(bool *) target = true;
        return 0;
    case OPTION_LINES:
        if (parse_int(value, 0, LINES_MAX, target, &err) < 0) {
            return command_usage_error("%s %s: -n is to be a number from 0 to %d, not '%s'",
                                       command->noun, command->verb, LINES_MAX, value);
        }
        return 0;
    case OPTION_DURATION:
        if (parse_duration(value, target, &err) < 0) {
            return command_usage_error("%s %s: --%s: %s", command->noun, command->verb,
                                       known[option].name, err.msg);
        }
        return 0;
    }
    return 0;
}

/* One word of the command line, with the value after it where it takes one. */
static int take_option(const struct command *command, int argc, char **argv, int *at,
                       struct command_options *options)
{
    char *word = argv[*at];
    bool is_long = word[1] == '-';
    CLEANUP(free) char *name = is_long ? xstrndup(word + 2, strcspn(word + 2, "=")) : NULL;
    int option = find_option(command, word[1], name);
    if (option < 0) {
        return unknown_option(command, word);
    }
    const char *value = NULL;
    if (is_long) {
        const char *equals = strchr(word, '=');
        value = equals != NULL ? equals + 1 : NULL;
    } else if (word[2] != '\0') {
        value = word + 2;
    }
    if (known[option].kind == OPTION_FLAG) {
        return value == NULL ? set_option(command, (size_t) option, NULL, options)
                             : unknown_option(command, word);
    }
    if (value == NULL && *at + 1 < argc) {
        value = argv[++*at];
    }
    if (value == NULL) {
        return command_usage_error("%s %s: '%s' needs a value", command->noun, command->verb, word);
    }
    return set_option(command, (size_t) option, value, options);
}

static int check_required(const struct command *command, const struct command_options *options)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        bool required = false;
        const void *target = (const char *) options + known[i].offset; /* of a strv its items */
        bool is_text = known[i].kind == OPTION_TEXT || known[i].kind == OPTION_FILE;
        if (is_text && list_has(command->takes, known[i].name, &required) && required &&
            *(const char *const *) target == NULL) {
            return command_usage_error("%s %s: %s%s is missing; usage: edgible %s %s %s",
                                       command->noun, command->verb,
                                       known[i].letter == 'f'   ? "-f FILE"
                                       : known[i].letter == 'i' ? "-i ID"
                                                                : "--",
                                       known[i].letter != 0 ? "" : known[i].name, command->noun,
                                       command->verb, command->usage);
        }
    }
    bool required = false;
    if (list_has(command->takes, "ARG", &required) && required && options->argument == NULL) {
        return command_usage_error("%s %s: usage: edgible %s %s %s", command->noun, command->verb,
                                   command->noun, command->verb, command->usage);
    }
    return 0;
}

/* argv[0] is the verb. */
static int parse_options(const struct command *command, int argc, char **argv,
                         struct command_options *options)
{
    bool required = false;
    bool takes_word = list_has(command->takes, "ARG", &required);
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            int usage = take_option(command, argc, argv, &i, options);
            if (usage != 0) {
                return usage;
            }
        } else if (takes_word && options->argument == NULL) {
            options->argument = argv[i];
        } else {
            return command_usage_error("%s %s: '%s' is too much; usage: edgible %s %s %s",
                                       command->noun, command->verb, argv[i], command->noun,
                                       command->verb, command->usage);
        }
    }
    return options->help ? 0 : check_required(command, options);
}

/* --- which command -------------------------------------------------------------------------------
 */

static const struct command *find(const char *noun, const char *verb)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (is_noun(table[i].noun, noun) && strcmp(table[i].verb, verb) == 0) {
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
        if (is_noun(table[i].noun, noun)) {
            names[count++] = table[i].verb;
        }
    }
    const char *near = count > 0 ? parse_nearest(verb, names, count) : NULL;
    return near != NULL || count == 0 ? near : names[0];
}

static int refuse_command(const char *noun, const char *verb)
{
    const char *near_verb = nearest_verb(noun, verb);
    if (near_verb != NULL && *verb == '\0') {
        (void) fprintf(stderr, "edgible: '%s' needs a verb:\n", noun);
        commands_print_usage(stderr, noun);
        return EXIT_USAGE;
    }
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

static int run_command(const struct command *command, struct command_options *options)
{
    if (options->help) {
        (void) printf("edgible %s %s %s\n    %s\n", command->noun, command->verb, command->usage,
                      command->about);
        print_options();
        return EXIT_OK;
    }
    if (options->raw) {
        terminal_set_raw();
    }
    int code = EXIT_OK;
    options->is_of_device = is_noun(command->noun, "device");
    options->plane = command->run == cmd_stack_validate ? NULL : plane_open(options, &code);
    if (code == EXIT_OK) {
        code = command->run(options);
    }
    plane_free(options->plane);
    return fflush(stdout) == 0 || code != EXIT_OK ? code : EXIT_NOT_OK;
}

int commands_run(int argc, char **argv, const struct command_options *preset)
{
    const char *noun = argv[0];
    const char *verb = argc > 1 ? argv[1] : "";
    bool wants_help = strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0;
    if (wants_help && nearest_verb(noun, "") != NULL) {
        commands_print_usage(stdout, noun);
        print_options();
        return EXIT_OK;
    }
    const struct command *command = find(noun, verb);
    if (command == NULL) {
        return refuse_command(noun, verb);
    }
    struct command_options options = *preset;
    int code = parse_options(command, argc - 1, argv + 1, &options);
    if (code == 0) {
        code = run_command(command, &options);
    }
    strv_fini(&options.files);
    return code;
}
