/* A JSON reader that allocates nothing: it checks the grammar and hands out slices of the text. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

struct slice {
    const char *start;
    size_t length;
};

enum json_type { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_LITERAL };

struct json_value {
    enum json_type type;
    struct slice text; /* as written, a string with its quotes */
};

/* Called for each member of the outermost object; key without its quotes, escapes as written. */
typedef void json_member(void *context, struct slice key, struct json_value value);

/* True when text is exactly one JSON value (RFC 8259). *type is then its type. */
bool json_read(struct slice text, enum json_type *type, json_member *on_member, void *context);

bool slice_equals(struct slice slice, const char *string);

#endif
