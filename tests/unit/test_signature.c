/* minisign signatures: what the real tool makes is taken, and nothing that is altered. */
#include "edgible/buf.h"
#include "edgible/signature.h"
#include "sys_test.h"

#define COMMENT "timestamp:1\tsequence:42\tdevice:lab-7"
#define WITHOUT_TOOL()                                                                             \
    do {                                                                                           \
        if (!have_tool) {                                                                          \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

enum { KEY_OURS, KEY_OTHER, KEY_COUNT };

struct text {
    char *data;
    size_t len;
};

static bool have_tool;
static char folder[] = "/tmp/edgible-test-signature-XXXXXX";
static unsigned char message[1000];
static struct signature_key keys[KEY_COUNT];
static char *key_lines[KEY_COUNT];
/* Of the message: by our key, prehashed and pure, and by the other key with the same comment. */
static struct text hashed, pure, of_other;

static char *in_folder(const char *name)
{
    return xasprintf("%s/%s", folder, name);
}

static int verify_with(const struct signature_key *items, size_t count, const char *sig,
                       size_t sig_len, const void *data, size_t len, char **comment,
                       struct err *err)
{
    struct signature_keys trusted = {items, count};
    struct signature_text text = {sig, sig_len};
    return signature_verify(&trusted, &text, data, len, comment, err);
}

static int run_tool(const char *const *argv)
{
    (void) fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void) dup2(fd, STDIN_FILENO);
        (void) dup2(fd, STDOUT_FILENO);
        (void) dup2(fd, STDERR_FILENO);
        (void) execvp(argv[0], (char *const *) (uintptr_t) argv);
        _exit(127);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_file(const char *path, const void *data, size_t len)
{
    CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, data, len, NULL), 0);
}

static struct text read_text(const char *path)
{
    struct text text = {0};
    assert_int_equal(fd_read_file(AT_FDCWD, path, 65536, &text.data, &text.len, NULL), 0);
    return text;
}

static void generate_key(int which)
{
    CLEANUP(free) char *public = in_folder(which == KEY_OURS ? "our.pub" : "other.pub");
    CLEANUP(free) char *secret = in_folder(which == KEY_OURS ? "our.key" : "other.key");
    const char *argv[] = {"minisign", "-G", "-W", "-f", "-p", public, "-s", secret, NULL};
    assert_int_equal(run_tool(argv), 0);
    struct text text = read_text(public);
    key_lines[which] = xstrdup(strchr(text.data, '\n') + 1);
    free(text.data);
    assert_int_equal(signature_key_parse(key_lines[which], &keys[which], NULL), 0);
}

/* legacy is the tool's word for pure. */
static struct text sign(int which, const void *data, size_t len, const char *comment, bool legacy)
{
    CLEANUP(free) char *secret = in_folder(which == KEY_OURS ? "our.key" : "other.key");
    CLEANUP(free) char *file = in_folder("data");
    CLEANUP(free) char *signature = in_folder("data.minisig");
    CLEANUP(free) char *trusted = xstrdup(comment);
    write_file(file, data, len);
    const char *argv[] = {"minisign", "-S", "-W",      "-s", secret,  "-m",
                          file,       "-x", signature, "-t", trusted, legacy ? "-l" : NULL,
                          NULL};
    assert_int_equal(run_tool(argv), 0);
    return read_text(signature);
}

static int prepare(void **state)
{
    (void) state;
    const char *argv[] = {"minisign", "-v", NULL};
    have_tool = run_tool(argv) == 0;
    if (!have_tool) {
        return 0;
    }
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof(message); i++) {
        message[i] = (unsigned char) (i * 7);
    }
    generate_key(KEY_OURS);
    generate_key(KEY_OTHER);
    hashed = sign(KEY_OURS, message, sizeof(message), COMMENT, false);
    pure = sign(KEY_OURS, message, sizeof(message), COMMENT, true);
    of_other = sign(KEY_OTHER, message, sizeof(message), COMMENT, false);
    return 0;
}

static int clear_away(void **state)
{
    (void) state;
    free(hashed.data);
    free(pure.data);
    free(of_other.data);
    free(key_lines[KEY_OURS]);
    free(key_lines[KEY_OTHER]);
    return have_tool ? remove_tree(folder) : 0;
}

static int verify(const char *sig, size_t sig_len, struct err *err)
{
    char *comment = NULL;
    int rc = verify_with(&keys[KEY_OURS], 1, sig, sig_len, message, sizeof(message), &comment, err);
    assert_int_equal(rc == 0, comment != NULL);
    free(comment);
    return rc;
}

static void assert_refused(const char *what, const char *sig, size_t sig_len, const char *expect)
{
    struct err err = {0};
    if (verify(sig, sig_len, &err) == 0) {
        fail_msg("%s is taken", what);
    }
    if (err.code != ERR_REMOTE || strstr(err.msg, expect) == NULL) {
        fail_msg("%s: '%s' has no '%s'", what, err.msg, expect);
    }
}

/* --- what is good --- */

static void what_the_tool_signs_is_taken_with_its_comment(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    const struct text *const both[] = {&hashed, &pure};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        char *comment = NULL;
        struct err err = {0};
        assert_int_equal(verify_with(keys, KEY_COUNT, both[i]->data, both[i]->len, message,
                                     sizeof(message), &comment, &err),
                         0);
        assert_string_equal(comment, COMMENT);
        free(comment);
    }
    assert_non_null(strstr(hashed.data, "\nRU"));
    assert_memory_not_equal(hashed.data, pure.data, hashed.len);
}

static void no_data_can_be_signed_too(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    for (int legacy = 0; legacy < 2; legacy++) {
        struct text text = sign(KEY_OURS, "", 0, "x", legacy == 1);
        char *comment = NULL;
        struct err err = {0};
        assert_int_equal(verify_with(keys, 1, text.data, text.len, NULL, 0, &comment, &err), 0);
        assert_string_equal(comment, "x");
        free(comment);
        free(text.data);
    }
}

static char *with_line_ends(const char *text, const char *end, bool at_the_last)
{
    struct buf buf = {0};
    for (const char *c = text; *c != '\0'; c++) {
        if (*c != '\n') {
            buf_add_char(&buf, *c);
        } else if (c[1] != '\0' || at_the_last) {
            buf_add_str(&buf, end);
        }
    }
    return buf_steal(&buf);
}

static void lines_may_end_with_cr_lf_and_the_last_with_the_file(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    static const char *const ends[] = {"\n", "\r\n"};
    for (size_t i = 0; i < 4; i++) {
        CLEANUP(free) char *text = with_line_ends(hashed.data, ends[i % 2], i / 2 == 1);
        assert_int_equal(verify(text, strlen(text), NULL), 0);
    }
}

static void the_untrusted_comment_may_be_anything(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    CLEANUP(free)
    char *text = xasprintf("untrusted comment: \x1b[31m\xff%s", strchr(hashed.data, '\n'));
    assert_int_equal(verify(text, strlen(text), NULL), 0);
}

/* --- what is not --- */

/* The file's lines, with line ends; the four of `from`. */
static char *line(const struct text *from, int number)
{
    const char *begin = from->data;
    for (int i = 1; i < number; i++) {
        begin = strchr(begin, '\n') + 1;
    }
    return xstrndup(begin, strcspn(begin, "\n") + 1);
}

/* "1234" are the lines of the hashed signature, "abcd" those of the other key's, "WXYZ" those of
 * the pure one; anything else is itself. */
static char *compose(const char *recipe)
{
    struct buf buf = {0};
    for (const char *c = recipe; *c != '\0'; c++) {
        const struct text *from = *c >= '1' && *c <= '4'   ? &hashed
                                  : *c >= 'a' && *c <= 'd' ? &of_other
                                  : *c >= 'W' && *c <= 'Z' ? &pure
                                                           : NULL;
        if (from == NULL) {
            buf_add_char(&buf, *c);
            continue;
        }
        int first = from == &hashed ? '1' : from == &pure ? 'W' : 'a';
        CLEANUP(free) char *part = line(from, *c - first + 1);
        buf_add_str(&buf, part);
    }
    return buf_steal(&buf);
}

static void files_that_are_put_together_otherwise_are_refused(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    static const struct {
        const char *recipe, *expect;
    } cases[] = {
        {"\n",            "four lines"                 },
        {"\n\n\n\n",      "line 1"                     },
        {"1",             "four lines"                 },
        {"12",            "four lines"                 },
        {"123",           "line 4"                     }, /* the end of line 3 is the begin of an empty one */
        {"234",           "line 1"                     },
        {"134",           "line 2"                     },
        {"124",           "line 3"                     },
        {"1324",          "line 2"                     },
        {"1432",          "line 2"                     },
        {"2134",          "line 1"                     },
        {"3214",          "line 1"                     },
        {"4321",          "line 1"                     },
        {"1233",          "line 4"                     },
        {"1232",          "line 4"                     },
        {"1244",          "line 3"                     },
        {"11234",         "four lines"                 },
        {"\n1234",        "four lines"                 },
        {" 1234",         "line 1"                     },
        {"1\n234",        "four lines"                 },
        {"12\n34",        "four lines"                 },
        {"123\n4",        "four lines"                 },
        {"1234\n",        "four lines"                 },
        {"1234 ",         "four lines"                 },
        {"1234-",         "four lines"                 },
        {"12341234",      "four lines"                 },
        {"1 234",         "line 2"                     },
        {"123 4",         "line 4"                     },
        {"1234\r",        "four lines"                 },
        {"\xef\xbb\xbf"
         "1234", "line 1"                     },
        {"123d",          "trusted comment was altered"},
        {"123Z",          "trusted comment was altered"},
        {"1WXY4",         "four lines"                 },
        {"1X34",          "trusted comment was altered"},
        {"1b34",          "is not trusted"             },
        {"1bc4",          "is not trusted"             },
        {"abcd",          "is not trusted"             },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free) char *text = compose(cases[i].recipe);
        assert_refused(cases[i].recipe, text, strlen(text), cases[i].expect);
    }
    CLEANUP(free) char *whole = compose("1234");
    assert_int_equal(verify(whole, strlen(whole), NULL), 0);
}

/* One character of the hashed signature exchanged: line and column, from 1. */
static void characters_that_are_exchanged_are_refused(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    static const struct {
        int line, column;
        const char *expect;
    } cases[] = {
        {1, 1,   "line 1"             },
        {1, 18,  "line 1"             },
        {1, 19,  "line 1"             },
        {2, 1,   "algorithm"          },
        {2, 2,   "algorithm"          },
        {2, 5,   "is not trusted"     },
        {2, 13,  "is not trusted"     },
        {2, 15,  "not fit"            },
        {2, 50,  "not fit"            },
        {2, 97,  "not fit"            },
        {3, 1,   "line 3"             },
        {3, 17,  "line 3"             },
        {3, 18,  "comment was alt"    },
        {3, 30,  "comment was a"      },
        {3, 53,  "comment was altered"},
        {4, 1,   "comment was alte"   },
        {4, 44,  "comment was a"      },
        {4, 85,  "comment was altered"},
        {2, 100, "line 2"             },
        {4, 88,  "line 4"             },
        {4, 87,  "line 4"             },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(free) char *text = xstrdup(hashed.data);
        char *at = text;
        for (int skipped = 1; skipped < cases[i].line; skipped++) {
            at = strchr(at, '\n') + 1;
        }
        at += cases[i].column - 1;
        *at = *at == 'Q' ? 'g' : 'Q';
        CLEANUP(free) char *what = xasprintf("%d:%d", cases[i].line, cases[i].column);
        assert_refused(what, text, hashed.len, cases[i].expect);
    }
}

static void every_cut_is_refused(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    assert_refused("nothing", "", 0, "is empty");
    for (size_t len = 1; len + 1 < hashed.len; len++) {
        CLEANUP(free) char *text = xstrndup(hashed.data, len);
        assert_refused("a cut file", text, len, "not a minisign signature");
    }
}

static void nul_bytes_and_huge_files_are_refused(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    for (size_t at = 0; at <= hashed.len; at++) {
        CLEANUP(free) char *text = xmalloc(hashed.len + 1);
        memcpy(text, hashed.data, hashed.len);
        text[at] = '\0';
        assert_refused("a NUL byte", text, hashed.len + 1, "NUL");
    }
    CLEANUP(free) char *huge = xmalloc(1024 * 1024);
    memset(huge, 'x', 1024 * 1024);
    memcpy(huge, hashed.data, hashed.len);
    assert_refused("8 KiB + 1", huge, SIGNATURE_MAX_BYTES + 1, "more than 8192 bytes");
    assert_refused("1 MiB", huge, (size_t) 1024 * 1024, "more than 8192 bytes");
    assert_refused("8 KiB", huge, SIGNATURE_MAX_BYTES, "four lines");
}

/* A flip of the untrusted comment alone is no matter: nobody signed it. */
static void assert_no_flip_verifies(const struct text *text)
{
    size_t taken = 0;
    size_t first_end = strcspn(text->data, "\n");
    CLEANUP(free) char *copy = xmalloc(text->len);
    for (size_t bit = 0; bit < text->len * 8; bit++) {
        memcpy(copy, text->data, text->len);
        copy[bit / 8] = (char) (copy[bit / 8] ^ (1 << (bit % 8)));
        if (verify(copy, text->len, NULL) == 0) {
            taken++;
            assert_in_range(bit / 8, strlen("untrusted comment: "), first_end - 1);
        }
    }
    assert_true(taken > 0);
}

static void no_flipped_bit_of_what_is_signed_verifies(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    assert_no_flip_verifies(&hashed);
    assert_no_flip_verifies(&pure);
}

static void altered_data_is_refused(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    const struct text *const both[] = {&hashed, &pure};
    unsigned char altered[sizeof(message) + 1] = {0};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        for (size_t at = 0; at <= sizeof(message); at += 50) {
            memcpy(altered, message, sizeof(message));
            altered[at] ^= 1;
            /* The last one is not changed but longer. */
            size_t len = at == sizeof(message) ? sizeof(altered) : sizeof(message);
            char *comment = NULL;
            struct err err = {0};
            assert_int_equal(verify_with(keys, KEY_COUNT, both[i]->data, both[i]->len, altered, len,
                                         &comment, &err),
                             -1);
            assert_non_null(strstr(err.msg, "does not fit the data"));
            assert_null(comment);
        }
        assert_int_equal(verify_with(keys, KEY_COUNT, both[i]->data, both[i]->len, message,
                                     sizeof(message) - 1, &(char *){NULL}, NULL),
                         -1);
    }
}

static void a_hash_signed_purely_is_no_signature_of_what_was_hashed(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    unsigned char digest[CRYPTO_BLAKE2B_BYTES];
    assert_int_equal(crypto_blake2b(message, sizeof(message), digest, NULL), 0);
    struct text text = sign(KEY_OURS, digest, sizeof(digest), COMMENT, true);
    assert_refused("a pure signature of the hash", text.data, text.len, "not fit");
    free(text.data);
}

/* --- keys --- */

static void the_message_names_the_key_as_the_tool_does(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    CLEANUP(free) char *path = in_folder("other.pub");
    struct text public = read_text(path);
    const char *id = strstr(public.data, "public key ") + strlen("public key ");
    int digits = (int) strspn(id, "0123456789ABCDEF"); /* leading zeros are not printed */
    CLEANUP(free) char *expect = xasprintf("key %.*s, which is not trusted", digits, id);
    assert_refused("another key", of_other.data, of_other.len, expect);
    free(public.data);
}

static void any_of_the_keys_will_do_also_beside_one_of_the_same_id(void **state)
{
    (void) state;
    WITHOUT_TOOL();
    struct signature_key three[] = {keys[KEY_OTHER], keys[KEY_OTHER], keys[KEY_OURS]};
    char *comment = NULL;
    memcpy(three[1].id, keys[KEY_OURS].id, sizeof(three[1].id));
    assert_int_equal(
        verify_with(three, 3, hashed.data, hashed.len, message, sizeof(message), &comment, NULL),
        0);
    free(comment);
    comment = NULL;
    struct err err = {0};
    assert_int_equal(
        verify_with(three, 2, hashed.data, hashed.len, message, sizeof(message), &comment, &err),
        -1);
    assert_non_null(strstr(err.msg, "does not fit"));
    assert_int_equal(
        verify_with(NULL, 0, hashed.data, hashed.len, message, sizeof(message), &comment, &err),
        -1);
    assert_non_null(strstr(err.msg, "is not trusted"));
    assert_null(comment);
}

/* R the neutral element and S zero: a signature of everything, were the key taken. */
static void keys_of_small_order_verify_nothing(void **state)
{
    (void) state;
    unsigned char signature[CRYPTO_ED25519_SIGNATURE_BYTES] = {1};
    unsigned char key[CRYPTO_ED25519_KEY_BYTES];
    static const struct {
        unsigned char first, middle, last;
    } cases[] = {
        {1,    0,    0   },
        {1,    0,    0x80},
        {0,    0,    0   },
        {0,    0,    0x80},
        {0xec, 0xff, 0x7f},
        {0xec, 0xff, 0xff},
        {0xed, 0xff, 0x7f},
        {0xed, 0xff, 0xff},
        {0xee, 0xff, 0x7f},
        {0xee, 0xff, 0xff},
        {2,    0,    0   },
        {0xff, 0xff, 0xff},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        memset(key, cases[i].middle, sizeof(key));
        key[0] = cases[i].first;
        key[sizeof(key) - 1] = cases[i].last;
        /* With order 8 at most, a few tries would do to hit one that fits. */
        for (unsigned try = 0; try < 64; try++) {
            assert_false(crypto_ed25519_has_signed(key, signature, &try, sizeof(try)));
        }
    }
}

static void ed25519_and_blake2b_are_those_of_their_rfcs(void **state)
{
    (void) state;
    /* RFC 8032, 7.1, test 2; RFC 7693, appendix A. */
    static const unsigned char key[] = {0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a,
                                        0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
                                        0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c,
                                        0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
    unsigned char signature[] = {0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82,
                                 0x0b, 0x5f, 0x64, 0x25, 0x40, 0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50,
                                 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda, 0x08,
                                 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13,
                                 0xd0, 0xf1, 0x1d, 0x8c, 0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a,
                                 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};
    assert_true(crypto_ed25519_has_signed(key, signature, "r", 1));
    assert_false(crypto_ed25519_has_signed(key, signature, "s", 1));
    /* S + the order of the base point would be another signature of the same (8.4 there). */
    static const unsigned char order[] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                          0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                          0,    0,    0,    0,    0,    0,    0,    0,
                                          0,    0,    0,    0,    0,    0,    0,    0x10};
    unsigned carry = 0;
    for (size_t i = 0; i < sizeof(order); i++) {
        carry += (unsigned) signature[32 + i] + order[i];
        signature[32 + i] = (unsigned char) carry;
        carry >>= 8;
    }
    assert_false(crypto_ed25519_has_signed(key, signature, "r", 1));
    static const unsigned char abc[] = {0xba, 0x80, 0xa5, 0x3f, 0x98, 0x1c, 0x4d, 0x0d};
    unsigned char digest[CRYPTO_BLAKE2B_BYTES];
    assert_int_equal(crypto_blake2b("abc", 3, digest, NULL), 0);
    assert_memory_equal(digest, abc, sizeof(abc));
}

static void a_key_is_one_strict_line(void **state)
{
    (void) state;
    static const char good[] = "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd";
    struct signature_key key = {0};
    struct err err = {0};
    assert_int_equal(signature_key_parse(good, &key, &err), 0);
    assert_int_equal(key.id[0], 0xf3);
    assert_int_equal(key.id[7], 0x40);
    assert_int_equal(key.key[0], 0x56);
    assert_int_equal(key.key[31], 0x1d);
    CLEANUP(free) char *padded = xasprintf(" \r\n\t%s\r\n \t", good);
    assert_int_equal(signature_key_parse(padded, &key, &err), 0);

    static const char *const bad[] = {
        "",
        " ",
        "RW",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyug",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugdd",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyug=",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyu==",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugdAAAA",
        "RWTzKooBK8A4 QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyug\nd",
        "RWTzKooBK8A4-Fb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd",
        "RUTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd",
        "rWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd",
        "untrusted comment: minisign public key 4038C02B018A2AF3\n"
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd\n",
        "RWTzKooBK8A4QFb0833eajYbZ5PHMaMX3hjs7f1PTMPPLZFliYpUyugd # ours",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err = (struct err){0};
        if (signature_key_parse(bad[i], &key, &err) == 0) {
            fail_msg("'%s' is taken", bad[i]);
        }
        assert_int_equal(err.code, ERR_SPEC);
        assert_non_null(strstr(err.msg, "minisign public key"));
    }
}

/* --- the comment --- */

static void the_comment_has_a_sequence_and_maybe_a_device(void **state)
{
    (void) state;
    static const struct {
        const char *comment;
        int64_t sequence;
        const char *device;
    } cases[] = {
        {"sequence:0",                                       0,         NULL            },
        {"sequence:9223372036854775807",                     INT64_MAX, NULL            },
        {"timestamp:1795528385\tfile:f\tsequence:7\thashed", 7,         NULL            },
        {"  device:lab-7 \t sequence:12\t",                  12,        "lab-7"         },
        {"sequence:5 device:a:b=c/\xc3\xa4",                 5,         "a:b=c/\xc3\xa4"},
        {"xsequence:1 sequence:2 Sequence:3 xdevice:d",      2,         NULL            },
        {"sequence:007",                                     7,         NULL            },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t sequence = -1;
        char *device = NULL;
        assert_int_equal(signature_read_comment(cases[i].comment, &sequence, &device, NULL), 0);
        assert_int_equal(sequence, cases[i].sequence);
        assert_int_equal(device == NULL, cases[i].device == NULL);
        if (device != NULL) {
            assert_string_equal(device, cases[i].device);
        }
        free(device);
    }
}

static void a_comment_without_one_good_sequence_is_refused(void **state)
{
    (void) state;
    static const struct {
        const char *comment, *expect;
    } cases[] = {
        {"",                              "has no 'sequence:N'"                      },
        {"timestamp:5\tfile:x",           "has no 'sequence:N'"                      },
        {"sequence",                      "has no 'sequence:N'"                      },
        {"sequence=5",                    "has no 'sequence:N'"                      },
        {"sequence :5",                   "has no 'sequence:N'"                      },
        {"sequence:",                     "is no number"                             },
        {"sequence:-1",                   "is no number"                             },
        {"sequence:-0",                   "is no number"                             },
        {"sequence:+1",                   "is no number"                             },
        {"sequence:1.0",                  "is no number"                             },
        {"sequence:0x10",                 "is no number"                             },
        {"sequence:5,",                   "is no number"                             },
        {"sequence:5\r",                  "is no number"                             },
        {"sequence:9223372036854775808",  "is no number"                             },
        {"sequence:18446744073709551617", "is no number"                             },
        {"sequence:1 sequence:1",         "'sequence:' twice"                        },
        {"sequence:1\tsequence:2",        "'sequence:' twice"                        },
        {"device:a sequence:1 device:a",  "'device:' twice"                          },
        {"sequence:1 device:",            "'device:' of the trusted comment is empty"},
        {"sequence:1 device: a",          "'device:' of the trusted comment is empty"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t sequence = -7;
        char *device = NULL;
        struct err err = {0};
        assert_int_equal(signature_read_comment(cases[i].comment, &sequence, &device, &err), -1);
        assert_int_equal(err.code, ERR_REMOTE);
        if (strstr(err.msg, cases[i].expect) == NULL) {
            fail_msg("'%s': '%s'", cases[i].comment, err.msg);
        }
        assert_int_equal(sequence, -7);
        assert_null(device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_tool_signs_is_taken_with_its_comment),
        cmocka_unit_test(no_data_can_be_signed_too),
        cmocka_unit_test(lines_may_end_with_cr_lf_and_the_last_with_the_file),
        cmocka_unit_test(the_untrusted_comment_may_be_anything),
        cmocka_unit_test(files_that_are_put_together_otherwise_are_refused),
        cmocka_unit_test(characters_that_are_exchanged_are_refused),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(nul_bytes_and_huge_files_are_refused),
        cmocka_unit_test(no_flipped_bit_of_what_is_signed_verifies),
        cmocka_unit_test(altered_data_is_refused),
        cmocka_unit_test(a_hash_signed_purely_is_no_signature_of_what_was_hashed),
        cmocka_unit_test(the_message_names_the_key_as_the_tool_does),
        cmocka_unit_test(any_of_the_keys_will_do_also_beside_one_of_the_same_id),
        cmocka_unit_test(keys_of_small_order_verify_nothing),
        cmocka_unit_test(ed25519_and_blake2b_are_those_of_their_rfcs),
        cmocka_unit_test(a_key_is_one_strict_line),
        cmocka_unit_test(the_comment_has_a_sequence_and_maybe_a_device),
        cmocka_unit_test(a_comment_without_one_good_sequence_is_refused),
    };
    return cmocka_run_group_tests(tests, prepare, clear_away);
}
