#include "edgible/config_read.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Loopback by what is written, not by what a resolver would say. */
static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(host, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == 127;
    }
    return inet_pton(AF_INET6, host, &v6) == 1 && memcmp(&v6, &in6addr_loopback, sizeof(v6)) == 0;
}

static bool is_clean(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char) *s <= ' ' || (unsigned char) *s >= 0x7f || strchr("?#\\\"<>", *s)) {
            return false;
        }
    }
    return true;
}

/* The host of "host:port" or "[v6]:port", for the caller to free; NULL where it is neither. */
static char *take_host(const char *text)
{
    const char *start = *text == '[' ? text + 1 : text;
    size_t len = strcspn(start, *text == '[' ? "]" : ":");
    const char *rest = start + len;
    if (*text == '[') {
        rest = *rest == ']' ? rest + 1 : "?";
    }
    int64_t port = 0;
    bool is_port_good =
        *rest == '\0' || (*rest == ':' && parse_int(rest + 1, 1, UINT16_MAX, &port, NULL) == 0);
    return len > 0 && is_port_good ? xstrndup(start, len) : NULL;
}

static int check_url(const char *url, bool insecure, struct err *err)
{
    bool is_plain = strncmp(url, "http://", 7) == 0;
    if (!is_plain && strncmp(url, "https://", 8) != 0) {
        return err_set(err, ERR_SPEC, "'%.200s' does not start with https://", url);
    }
    const char *start = url + (is_plain ? 7 : 8);
    CLEANUP(free) char *authority = xstrndup(start, strcspn(start, "/"));
    CLEANUP(free) char *host = take_host(authority);
    if (strchr(authority, '@') != NULL) {
        return err_set(err, ERR_SPEC, "a name or password does not belong into a URL");
    }
    if (!is_clean(url)) {
        return err_set(err, ERR_SPEC, "'%.200s' is not a URL of a server and a path", url);
    }
    if (host == NULL) {
        return err_set(err, ERR_SPEC, "'%.200s' is not a host with or without a port", authority);
    }
    if (is_plain && !insecure && !is_loopback(host)) {
        return err_set(err, ERR_SPEC,
                       "http:// to another host than loopback can be read and changed by others: "
                       "use https://, or set insecure: true");
    }
    return 0;
}

/* Checks and takes off what slashes there are at the end. */
static void read_url(struct doc_reader *reader, const struct doc_spot *spot, bool insecure,
                     char *url)
{
    struct err err = {0};
    if (check_url(url, insecure, &err) < 0) {
        docread_error(reader, spot, "%s", err.msg);
        return;
    }
    for (size_t len = strlen(url); len > 0 && url[len - 1] == '/'; len--) {
        url[len - 1] = '\0';
    }
}

static struct doc_spot spot_of(const struct doc_spot *up, const char *key)
{
    const struct doc_node *node = doc_node_get(up->node, key);
    return (struct doc_spot){.up = up, .key = key, .node = node != NULL ? node : up->node};
}

static void check_pair(struct doc_reader *reader, const struct doc_spot *spot,
                       const char *const keys[2], const char *first, const char *second)
{
    if ((first == NULL) != (second == NULL)) {
        struct doc_spot at = spot_of(spot, first == NULL ? keys[0] : keys[1]);
        docread_error(reader, &at, "is required with %s", first == NULL ? keys[1] : keys[0]);
    }
}

static const char *const certificate_keys[2] = {"certFile", "keyFile"};
static const char *const password_keys[2] = {"username", "passwordFile"};

static void read_https(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct https_config, insecure, "insecure", docread_bool),
        DOC_FIELD(struct https_config, url, "url", docread_string, .is_required = true),
        DOC_FIELD(struct https_config, token_file, "tokenFile", docread_string),
        DOC_FIELD(struct https_config, ca_file, "caFile", docread_string),
        DOC_FIELD(struct https_config, cert_file, "certFile", docread_string),
        DOC_FIELD(struct https_config, key_file, "keyFile", docread_string),
        DOC_FIELD(struct https_config, poll_interval_ms, "pollInterval", docread_duration,
                  .min = 1000),
        DOC_FIELD(struct https_config, report_interval_ms, "reportInterval", docread_duration,
                  .min = 1000),
        DOC_FIELDS_END,
    };
    struct config *config = target;
    struct https_config *https = &config->https;
    config->source = SOURCE_HTTPS;
    docread_mapping(reader, spot, fields, https);
    if (https->url != NULL) {
        struct doc_spot at = spot_of(spot, "url");
        read_url(reader, &at, https->insecure, https->url);
    }
    check_pair(reader, spot, certificate_keys, https->cert_file, https->key_file);
}

static void check_endpoints(struct doc_reader *reader, const struct doc_spot *spot,
                            struct etcd_config *etcd)
{
    struct doc_spot list = spot_of(spot, "endpoints");
    if (list.node->kind != DOC_SEQUENCE) {
        return;
    }
    if (list.node->count == 0) {
        docread_error(reader, &list, "is empty");
    }
    for (size_t i = 0; i < etcd->endpoints.count && etcd->endpoints.count == list.node->count;
         i++) {
        struct doc_spot item = docread_item(&list, i);
        read_url(reader, &item, etcd->insecure, etcd->endpoints.items[i]);
    }
}

static void read_prefix(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    const char *text = docread_text(reader, spot);
    char **ret = target;
    if (text == NULL) {
        return;
    }
    size_t len = strlen(text);
    if (text[0] != '/' || text[len - 1] == '/') {
        docread_error(reader, spot, "'%.80s' is not a prefix such as /edgible", text);
        return;
    }
    free(*ret);
    *ret = xstrdup(text);
}

static void read_etcd(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD(struct etcd_config, insecure, "insecure", docread_bool),
        DOC_FIELD(struct etcd_config, endpoints, "endpoints", docread_strings, .is_required = true),
        DOC_FIELD(struct etcd_config, prefix, "prefix", read_prefix),
        DOC_FIELD(struct etcd_config, ca_file, "caFile", docread_string),
        DOC_FIELD(struct etcd_config, cert_file, "certFile", docread_string),
        DOC_FIELD(struct etcd_config, key_file, "keyFile", docread_string),
        DOC_FIELD(struct etcd_config, username, "username", docread_string),
        DOC_FIELD(struct etcd_config, password_file, "passwordFile", docread_string),
        DOC_FIELD(struct etcd_config, report_interval_ms, "reportInterval", docread_duration,
                  .min = 1000),
        DOC_FIELDS_END,
    };
    struct config *config = target;
    struct etcd_config *etcd = &config->etcd;
    config->source = SOURCE_ETCD;
    docread_mapping(reader, spot, fields, etcd);
    check_endpoints(reader, spot, etcd);
    check_pair(reader, spot, certificate_keys, etcd->cert_file, etcd->key_file);
    check_pair(reader, spot, password_keys, etcd->username, etcd->password_file);
}

static void read_directory(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    struct config *config = target;
    config->source = SOURCE_DIRECTORY;
    docread_string(reader, spot, &config->directory);
}

#define SOURCE_KINDS 3

void config_read_control_plane(struct doc_reader *reader, const struct doc_spot *spot, void *target)
{
    static const struct doc_field fields[] = {
        DOC_FIELD_OF_ALL("directory", read_directory),
        DOC_FIELD_OF_ALL("https", read_https),
        DOC_FIELD_OF_ALL("etcd", read_etcd),
        DOC_FIELD(struct config, trusted_keys, "trustedKeys", docread_strings),
        DOC_FIELDS_END,
    };
    size_t count = 0;
    for (size_t i = 0; i < SOURCE_KINDS; i++) {
        count += doc_node_get(spot->node, fields[i].name) != NULL ? 1 : 0;
    }
    docread_mapping(reader, spot, fields, target);
    if (count != 1 && (spot->node->kind == DOC_MAPPING || doc_node_is_null(spot->node))) {
        docread_error(reader, spot, "needs exactly one of directory, https, etcd, has %zu", count);
    }
}

/* "./x" and "x" from /etc/edgible are /etc/edgible/x, and "../x" is /etc/x: the folder has no
 * links, so that a `..` leads to the one above it. */
static void resolve(char **path, const char *folder, size_t folder_len)
{
    if (*path == NULL || **path == '/') {
        return;
    }
    const char *relative = strncmp(*path, "./", 2) == 0 ? *path + 2 : *path;
    while (strncmp(relative, "../", 3) == 0 && folder[0] == '/') {
        relative += 3;
        while (folder_len > 0 && folder[--folder_len] != '/') {
        }
    }
    char *resolved = xasprintf("%.*s/%s", (int) folder_len, folder, relative);
    free(*path);
    *path = resolved;
}

void config_resolve_paths(struct config *config)
{
    char **const paths[] = {
        &config->state_dir,          &config->runtime_dir,     &config->log_dir,
        &config->directory,          &config->api_socket,      &config->https.token_file,
        &config->https.ca_file,      &config->https.cert_file, &config->https.key_file,
        &config->etcd.ca_file,       &config->etcd.cert_file,  &config->etcd.key_file,
        &config->etcd.password_file,
    };
    const char *slash = strrchr(config->file, '/');
    size_t folder_len = slash != NULL ? (size_t) (slash - config->file) : 0;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        resolve(paths[i], slash != NULL ? config->file : ".", slash != NULL ? folder_len : 1);
    }
}

static bool is_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool is_same_https(const struct https_config *a, const struct https_config *b)
{
    return is_same(a->url, b->url) && is_same(a->token_file, b->token_file) &&
           is_same(a->ca_file, b->ca_file) && is_same(a->cert_file, b->cert_file) &&
           is_same(a->key_file, b->key_file) && a->poll_interval_ms == b->poll_interval_ms &&
           a->report_interval_ms == b->report_interval_ms;
}

static bool is_same_etcd(const struct etcd_config *a, const struct etcd_config *b)
{
    return strv_is_equal(&a->endpoints, &b->endpoints) && is_same(a->prefix, b->prefix) &&
           is_same(a->ca_file, b->ca_file) && is_same(a->cert_file, b->cert_file) &&
           is_same(a->key_file, b->key_file) && is_same(a->username, b->username) &&
           is_same(a->password_file, b->password_file) &&
           a->report_interval_ms == b->report_interval_ms;
}

bool config_is_same_source(const struct config *a, const struct config *b)
{
    return a->source == b->source && is_same(a->directory, b->directory) &&
           is_same_https(&a->https, &b->https) && is_same_etcd(&a->etcd, &b->etcd) &&
           strv_is_equal(&a->trusted_keys, &b->trusted_keys);
}
