#include "edgible/buf.h"
#include "edgible/mem.h"
#include "edgible/parse.h"
#include "edgible/strv.h"

#include <string.h>

#define WAY_OUT "use an array or a wrapper script"

struct splitter {
    const char *text;
    const char *at;
    const char *end; /* line ends at the very end of the text are not part of it */
    struct buf word;
    bool in_word; /* also of an empty one: '' is a word */
};

/* A block scalar of YAML ends with a newline that nobody means. */
static const char *find_end(const char *text)
{
    const char *end = text + strlen(text);
    while (end > text && (end[-1] == '\n' || end[-1] == '\r')) {
        end--;
    }
    return end;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void end_word(struct splitter *s, struct strv *words)
{
    if (s->in_word) {
        strv_add_take(words, buf_steal(&s->word));
        s->in_word = false;
    }
}

/* What a shell would do something with where it stands unquoted. */
static bool is_for_shell(const struct splitter *s)
{
    char c = *s->at;
    if (c == '#' || c == '~') {
        return !s->in_word;
    }
    return strchr("$`|&;<>()*?[]{}!\n\r", c) != NULL;
}

static int refuse(const struct splitter *s, struct err *err)
{
    size_t place = (size_t) (s->at - s->text) + 1;
    if (*s->at == '\n' || *s->at == '\r') {
        return err_set(err, ERR_SPEC, "a line end (character %zu) would need a shell: " WAY_OUT,
                       place);
    }
    return err_set(err, ERR_SPEC, "'%c' (character %zu) would need a shell: quote it, or " WAY_OUT,
                   *s->at, place);
}

static int take_single_quoted(struct splitter *s, struct err *err)
{
    const char *open = s->at;
    const char *close = memchr(open + 1, '\'', (size_t) (s->end - open) - 1);
    if (close == NULL) {
        return err_set(err, ERR_SPEC, "the quote ' at character %zu is not closed",
                       (size_t) (open - s->text) + 1);
    }
    buf_add(&s->word, open + 1, (size_t) (close - open) - 1);
    s->at = close + 1;
    return 0;
}

/* Within double quotes a backslash means something before these alone. */
static bool is_escapable_in_double(const struct splitter *s)
{
    return s->at + 1 < s->end && strchr("$`\"\\\n", s->at[1]) != NULL;
}

static void take_escaped(struct splitter *s)
{
    if (s->at[1] != '\n') {
        buf_add_char(&s->word, s->at[1]);
    }
    s->at += 2;
}

static int take_double_quoted(struct splitter *s, struct err *err)
{
    const char *open = s->at++;
    while (s->at < s->end && *s->at != '"') {
        if (*s->at == '\\' && is_escapable_in_double(s)) {
            take_escaped(s);
            continue;
        }
        if (*s->at == '$' || *s->at == '`') {
            return err_set(err, ERR_SPEC,
                           "'%c' (character %zu) within double quotes would need a shell: use "
                           "single quotes, an array or a wrapper script",
                           *s->at, (size_t) (s->at - s->text) + 1);
        }
        buf_add_char(&s->word, *s->at++);
    }
    if (s->at == s->end) {
        s->at = open;
        return err_set(err, ERR_SPEC, "the quote \" at character %zu is not closed",
                       (size_t) (open - s->text) + 1);
    }
    s->at++;
    return 0;
}

static int take_backslash(struct splitter *s, struct err *err)
{
    if (s->at + 1 == s->end) {
        return err_set(err, ERR_SPEC, "the command ends with a backslash");
    }
    if (s->at[1] != '\n') {
        s->in_word = true;
    }
    take_escaped(s);
    return 0;
}

/* Takes one character, or everything to the closing quote. */
static int take_some(struct splitter *s, struct err *err)
{
    if (*s->at == '\\') {
        return take_backslash(s, err);
    }
    if (is_for_shell(s)) {
        return refuse(s, err);
    }
    s->in_word = true;
    if (*s->at == '\'') {
        return take_single_quoted(s, err);
    }
    if (*s->at == '"') {
        return take_double_quoted(s, err);
    }
    buf_add_char(&s->word, *s->at++);
    return 0;
}

int parse_words(const char *text, struct strv *words, size_t *ret_at, struct err *err)
{
    struct splitter s = {.text = text, .at = text, .end = find_end(text)};
    int rc = 0;
    while (rc == 0 && s.at < s.end) {
        if (is_blank(*s.at)) {
            end_word(&s, words);
            s.at++;
        } else {
            rc = take_some(&s, err);
        }
    }
    if (rc == 0) {
        end_word(&s, words);
    } else {
        *ret_at = (size_t) (s.at - s.text);
    }
    buf_fini(&s.word);
    return rc;
}
