/* HTTP/1.1, one request to a connection, everything bounded. */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>

enum { HTTP_MAX_HEAD = 8 * 1024, HTTP_MAX_BODY = 64 * 1024, HTTP_MAX_REQUEST = HTTP_MAX_HEAD + HTTP_MAX_BODY };
enum { HTTP_MAX_RESPONSE = 2 * 1024 };

/*
 * Looks at what has come of a request so far. Returns 0 while more is needed (then length < HTTP_MAX_REQUEST), else
 * the length of the response written, which is the answer to the request or says what is wrong with it.
 */
size_t http_respond(const char *request, size_t length, char response[HTTP_MAX_RESPONSE]);

#endif
