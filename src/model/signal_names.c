#include "edgible/appspec.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Not sigabbrev_np(), which musl does not have. Of two names for one number the first counts. */
static const struct {
    int number;
    const char *name;
} names[] = {
    {SIGHUP,    "HUP"   },
    {SIGINT,    "INT"   },
    {SIGQUIT,   "QUIT"  },
    {SIGILL,    "ILL"   },
    {SIGTRAP,   "TRAP"  },
    {SIGABRT,   "ABRT"  },
    {SIGABRT,   "IOT"   },
    {SIGBUS,    "BUS"   },
    {SIGFPE,    "FPE"   },
    {SIGKILL,   "KILL"  },
    {SIGUSR1,   "USR1"  },
    {SIGSEGV,   "SEGV"  },
    {SIGUSR2,   "USR2"  },
    {SIGPIPE,   "PIPE"  },
    {SIGALRM,   "ALRM"  },
    {SIGTERM,   "TERM"  },
    {SIGSTKFLT, "STKFLT"},
    {SIGCHLD,   "CHLD"  },
    {SIGCONT,   "CONT"  },
    {SIGSTOP,   "STOP"  },
    {SIGTSTP,   "TSTP"  },
    {SIGTTIN,   "TTIN"  },
    {SIGTTOU,   "TTOU"  },
    {SIGURG,    "URG"   },
    {SIGXCPU,   "XCPU"  },
    {SIGXFSZ,   "XFSZ"  },
    {SIGVTALRM, "VTALRM"},
    {SIGPROF,   "PROF"  },
    {SIGWINCH,  "WINCH" },
    {SIGIO,     "IO"    },
    {SIGIO,     "POLL"  },
    {SIGPWR,    "PWR"   },
    {SIGSYS,    "SYS"   },
};

/* "RTMIN", "RTMIN+3" or "RTMAX-2"; -1 for others. */
static int realtime_from_name(const char *name)
{
    bool from_max = strncmp(name, "RTMAX", 5) == 0;
    if (!from_max && strncmp(name, "RTMIN", 5) != 0) {
        return -1;
    }
    int base = from_max ? SIGRTMAX : SIGRTMIN;
    const char *offset = name + 5;
    if (*offset == '\0') {
        return base;
    }
    int64_t steps = 0;
    if (*offset != (from_max ? '-' : '+') ||
        parse_int(offset + 1, 0, SIGRTMAX - SIGRTMIN, &steps, NULL) < 0) {
        return -1;
    }
    return from_max ? base - (int) steps : base + (int) steps;
}

int signal_from_name(const char *name)
{
    int64_t number = 0;
    if (parse_int(name, 1, SIGRTMAX, &number, NULL) == 0) {
        return (int) number;
    }
    const char *bare = strncmp(name, "SIG", 3) == 0 ? name + 3 : name;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i].name, bare) == 0) {
            return names[i].number;
        }
    }
    return realtime_from_name(bare);
}

const char *signal_name(int signal, char *buf, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].number == signal) {
            (void) snprintf(buf, size, "SIG%s", names[i].name);
            return buf;
        }
    }
    if (signal == SIGRTMIN) {
        (void) snprintf(buf, size, "SIGRTMIN");
    } else if (signal > SIGRTMIN && signal <= SIGRTMAX) {
        (void) snprintf(buf, size, "SIGRTMIN+%d", signal - SIGRTMIN);
    } else {
        (void) snprintf(buf, size, "signal %d", signal);
    }
    return buf;
}
