#include "http.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "rpc.h"

static const char health[] = "{\"health\":true,\"version\":\"" KATANA_VERSION "\"}";

static size_t reply(const char *status, const char *extra, struct slice body, bool head_only, char *response)
{
    int length = snprintf(response, HTTP_MAX_RESPONSE,
                          "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                          "Connection: close\r\n%s\r\n%.*s",
                          status, body.length, extra, head_only ? 0 : (int)body.length, body.start);
    return (size_t)length;
}

static size_t refuse(const char *status, const char *extra, char *response)
{
    char text[128];
    int length = snprintf(text, sizeof text, "{\"error\":\"%s\"}", status);
    return reply(status, extra, (struct slice){text, (size_t)length}, false, response);
}

/* The next line up to CRLF (or a bare LF), without it; advances *at past it. */
static struct slice next_line(const char **at, const char *end)
{
    const char *start = *at;
    const char *newline = memchr(start, '\n', (size_t)(end - start));
    size_t length = (size_t)(newline - start);
    *at = newline + 1;
    if (length > 0 && start[length - 1] == '\r')
        length--;
    return (struct slice){start, length};
}

/* Length of the head with its empty line, 0 when it is not complete. */
static size_t head_length(const char *request, size_t length)
{
    size_t line = 0;
    for (size_t i = 0; i < length; i++) {
        if (request[i] != '\n')
            continue;
        size_t line_length = i - line;
        if (line > 0 && (line_length == 0 || (line_length == 1 && request[line] == '\r')))
            return i + 1;
        line = i + 1;
    }
    return 0;
}

static bool parse_length(struct slice text, size_t *value)
{
    size_t result = 0;
    if (text.length == 0 || text.length > 9)
        return false;
    for (size_t i = 0; i < text.length; i++) {
        if (text.start[i] < '0' || text.start[i] > '9')
            return false;
        result = result * 10 + (size_t)(text.start[i] - '0');
    }
    *value = result;
    return true;
}

static struct slice trim(struct slice text)
{
    while (text.length > 0 && (*text.start == ' ' || *text.start == '\t')) {
        text.start++;
        text.length--;
    }
    while (text.length > 0 && (text.start[text.length - 1] == ' ' || text.start[text.length - 1] == '\t'))
        text.length--;
    return text;
}

static bool is_header(struct slice name, const char *wanted)
{
    return name.length == strlen(wanted) && strncasecmp(name.start, wanted, name.length) == 0;
}

struct head {
    struct slice method;
    struct slice target;
    size_t body_length;
    bool has_length;
    const char *refusal; /* NULL, or the status that refuses the request */
};

static struct head parse_head(const char *request, size_t length)
{
    struct head head = {0};
    const char *at = request;
    const char *end = request + length;
    struct slice line = next_line(&at, end);
    const char *space = memchr(line.start, ' ', line.length);
    const char *version = memrchr(line.start, ' ', line.length);

    if (space == NULL || version == space || line.start + line.length - version != 9 ||
        memcmp(version, " HTTP/1.", 8) != 0) {
        head.refusal = "400 Bad Request";
        return head;
    }
    head.method = (struct slice){line.start, (size_t)(space - line.start)};
    head.target = (struct slice){space + 1, (size_t)(version - space) - 1};
    while ((line = next_line(&at, end)).length > 0) {
        const char *colon = memchr(line.start, ':', line.length);
        if (colon == NULL || colon == line.start) {
            head.refusal = "400 Bad Request";
            return head;
        }
        struct slice name = {line.start, (size_t)(colon - line.start)};
        struct slice value = trim((struct slice){colon + 1, (size_t)(line.start + line.length - colon) - 1});
        if (is_header(name, "Content-Length")) {
            /* Two lengths could be read differently by a proxy in front: refuse. */
            if (head.has_length || !parse_length(value, &head.body_length)) {
                head.refusal = "400 Bad Request";
                return head;
            }
            head.has_length = true;
        } else if (is_header(name, "Transfer-Encoding")) {
            head.refusal = "501 Not Implemented";
            return head;
        }
    }
    if (head.body_length > HTTP_MAX_BODY)
        head.refusal = "413 Content Too Large";
    return head;
}

size_t http_respond(const char *request, size_t length, char response[HTTP_MAX_RESPONSE])
{
    size_t head_size = head_length(request, length < HTTP_MAX_HEAD ? length : HTTP_MAX_HEAD);
    if (head_size == 0) {
        if (length < HTTP_MAX_HEAD)
            return 0;
        return refuse("431 Request Header Fields Too Large", "", response);
    }

    struct head head = parse_head(request, head_size);
    if (head.refusal != NULL)
        return refuse(head.refusal, "", response);
    if (!slice_equals(head.target, "/"))
        return refuse("404 Not Found", "", response);

    if (slice_equals(head.method, "GET") || slice_equals(head.method, "HEAD"))
        return reply("200 OK", "", (struct slice){health, sizeof health - 1}, slice_equals(head.method, "HEAD"),
                     response);
    if (!slice_equals(head.method, "POST"))
        return refuse("405 Method Not Allowed", "Allow: GET, HEAD, POST\r\n", response);
    if (!head.has_length)
        return refuse("411 Length Required", "", response);
    if (length - head_size < head.body_length)
        return 0;

    char answer[RPC_MAX_RESPONSE];
    size_t answer_length = rpc_respond((struct slice){request + head_size, head.body_length}, answer);
    return reply("200 OK", "", (struct slice){answer, answer_length}, false, response);
}
