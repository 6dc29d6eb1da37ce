#include "edgible/policy.h"

#include <stddef.h>
#include <string.h>

struct place {
    const char *pattern, *path; /* NULL: nowhere */
};

/* Goes back to the last star that can still take a character more, the innermost first; never
 * before it, so that the cost is the product of both lengths at most. */
bool policy_pattern_matches(const char *pattern, const char *path)
{
    struct place star = {0};
    struct place double_star = {0};
    while (*path != '\0' || *pattern != '\0') {
        if (pattern[0] == '*' && pattern[1] == '*') {
            pattern += strspn(pattern, "*");
            double_star = (struct place){pattern, path};
            star = (struct place){0};
        } else if (*pattern == '*') {
            pattern++;
            star = (struct place){pattern, path};
        } else if (*path != '\0' && (*pattern == *path || (*pattern == '?' && *path != '/'))) {
            pattern++;
            path++;
        } else if (star.path != NULL && *star.path != '\0' && *star.path != '/') {
            path = ++star.path;
            pattern = star.pattern;
        } else if (double_star.path != NULL && *double_star.path != '\0') {
            path = ++double_star.path;
            pattern = double_star.pattern;
            star = (struct place){0};
        } else {
            return false;
        }
    }
    return true;
}

size_t policy_plain_length(const char *pattern)
{
    size_t len = strcspn(pattern, "*?");
    if (pattern[len] == '\0') {
        while (len > 1 && pattern[len - 1] == '/') {
            len--;
        }
        return len;
    }
    while (len > 0 && pattern[len] != '/') {
        len--;
    }
    return len;
}
