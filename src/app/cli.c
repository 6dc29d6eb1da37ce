#include "cli.h"

#include "agent.h"
#include "commands.h"
#include "edgible/mem.h"
#include "terminal.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_help(void)
{
    (void) printf("edgible-agent %s: runs what its control plane says, and keeps it running\n\n"
                  "  edgible-agent --config FILE\n"
                  "      the daemon, in the foreground; SIGTERM ends it and its workloads\n"
                  "  edgible-agent --config FILE --check\n"
                  "      check configuration and sources, print what it would run, exit\n"
                  "  edgible-agent --version | --help\n",
                  EDGIBLE_VERSION);
    commands_print_usage(stdout, NULL);
    (void) printf(
        "\nEvery command but `stack validate` speaks to an agent: --socket PATH, else\n"
        "$EDGIBLE_SOCKET, else the default. --json prints one JSON document.\n"
        "\nExit codes: 0 done, found, healthy, valid, no difference · 1 unhealthy, invalid,\n"
        "different, not found · 2 wrong usage · 3 no answer · 4 refused\n");
}

struct options {
    struct command_options command; /* what stands before the noun */
    bool check, self_check, version, help;
};

/* One that commands take, too. */
static bool take_text(struct command_options *command, int c)
{
    const struct {
        int letter;
        const char **to;
    } texts[] = {
        {'c', &command->config       },
        {'S', &command->socket       },
        {'P', &command->control_plane},
        {'D', &command->device       },
        {'T', &command->token_file   },
        {'A', &command->ca_file      },
        {'C', &command->cert_file    },
        {'K', &command->key_file     },
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].letter == c) {
            *texts[i].to = optarg;
            return true;
        }
    }
    return false;
}

static int parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"config",           required_argument, NULL, 'c'},
        {"check",              no_argument, NULL, 'k'},
        {"self-check",                  no_argument, NULL, 's'}, /* for agents, not for people: SIGUSR2 */
        {"version",no_argument, NULL, 'v'},
        {"help",               no_argument, NULL, 'h'},
        {"socket",       required_argument, NULL, 'S'},
        {"json",              no_argument, NULL, 'j'},
        {"plain",                  no_argument, NULL, 'p'},
        {"control-plane",              required_argument, NULL, 'P'},
        {"device",               required_argument, NULL, 'D'},
        {"token-file",             required_argument, NULL, 'T'},
        {"ca-file",              required_argument, NULL, 'A'},
        {"cert-file",                  required_argument, NULL, 'C'},
        {"key-file",required_argument, NULL, 'K'},
        {0              },
    };
    opterr = 0;
    for (int c = getopt_long(argc, argv, "+:c:hV", known, NULL); c != -1;
         c = getopt_long(argc, argv, "+:c:hV", known, NULL)) {
        if (take_text(&options->command, c)) {
            continue;
        }
        if (c == 'k') {
            options->check = true;
        } else if (c == 's') {
            options->self_check = true;
        } else if (c == 'v' || c == 'V') {
            options->version = true;
        } else if (c == 'h') {
            options->help = true;
        } else if (c == 'j') {
            options->command.json = true;
        } else if (c == 'p') {
            options->command.plain = true;
        } else if (c == ':') {
            return command_usage_error("'%s' needs a value", argv[optind - 1]);
        } else {
            return command_usage_error("unknown option '%s'", argv[optind - 1]);
        }
    }
    return 0;
}

int cli_run(int argc, char **argv)
{
    struct options options = {
        .command = {.lines = -1, .timeout_ms = -1}
    };
    terminal_begin();
    int usage = parse(argc, argv, &options);
    if (usage != 0) {
        return usage;
    }
    if (options.help) {
        print_help();
        return EXIT_OK;
    }
    if (options.version) {
        (void) printf("edgible-agent %s\n", EDGIBLE_VERSION);
        return EXIT_OK;
    }
    if (optind < argc && !options.check) {
        return commands_run(argc - optind, argv + optind, &options.command);
    }
    if (optind < argc) {
        return command_usage_error("'%s' is too much beside --check", argv[optind]);
    }
    if (options.command.config == NULL) {
        return command_usage_error("--config FILE or a command is missing");
    }
    if (options.self_check) {
        return agent_self_check(options.command.config);
    }
    return options.check ? agent_check(options.command.config)
                         : agent_run(argv[0], options.command.config);
}
