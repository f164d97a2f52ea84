#include "json.h"

#include <string.h>

/* Deeper text is refused: the reader recurses, and the text comes from strangers. */
enum { MAX_DEPTH = 32 };

struct reader {
    const char *at;
    const char *end;
    json_member *on_member;
    void *context;
};

static bool read_value(struct reader *reader, int depth, struct json_value *value);

bool slice_equals(struct slice slice, const char *string)
{
    return slice.length == strlen(string) && memcmp(slice.start, string, slice.length) == 0;
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) != NULL && *reader->at != '\0')
        reader->at++;
}

static bool take(struct reader *reader, char wanted)
{
    if (reader->at == reader->end || *reader->at != wanted)
        return false;
    reader->at++;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool read_string(struct reader *reader)
{
    if (!take(reader, '"'))
        return false;
    while (reader->at < reader->end) {
        char c = *reader->at++;
        if (c == '"')
            return true;
        if ((unsigned char)c < 0x20)
            return false;
        if (c != '\\')
            continue;
        if (reader->at == reader->end)
            return false;
        c = *reader->at++;
        if (c == 'u') {
            for (int i = 0; i < 4; i++, reader->at++)
                if (reader->at == reader->end || !is_hex(*reader->at))
                    return false;
        } else if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL) {
            return false;
        }
    }
    return false;
}

static bool read_digits(struct reader *reader)
{
    const char *start = reader->at;
    while (reader->at < reader->end && is_digit(*reader->at))
        reader->at++;
    return reader->at > start;
}

static bool read_number(struct reader *reader)
{
    take(reader, '-');
    if (!take(reader, '0') && !read_digits(reader))
        return false;
    if (take(reader, '.') && !read_digits(reader))
        return false;
    if (take(reader, 'e') || take(reader, 'E')) {
        if (!take(reader, '+'))
            take(reader, '-');
        if (!read_digits(reader))
            return false;
    }
    return true;
}

static bool read_literal(struct reader *reader)
{
    static const char *const literals[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof literals / sizeof *literals; i++) {
        size_t length = strlen(literals[i]);
        if ((size_t)(reader->end - reader->at) >= length && memcmp(reader->at, literals[i], length) == 0) {
            reader->at += length;
            return true;
        }
    }
    return false;
}

static bool read_array(struct reader *reader, int depth)
{
    struct json_value value;
    take(reader, '[');
    skip_space(reader);
    if (take(reader, ']'))
        return true;
    do {
        if (!read_value(reader, depth + 1, &value))
            return false;
    } while (take(reader, ','));
    return take(reader, ']');
}

static bool read_object(struct reader *reader, int depth)
{
    take(reader, '{');
    skip_space(reader);
    if (take(reader, '}'))
        return true;
    do {
        struct json_value value;
        skip_space(reader);
        const char *key = reader->at;
        if (!read_string(reader))
            return false;
        struct slice name = {key + 1, (size_t)(reader->at - key) - 2};
        skip_space(reader);
        if (!take(reader, ':') || !read_value(reader, depth + 1, &value))
            return false;
        if (depth == 0)
            reader->on_member(reader->context, name, value);
    } while (take(reader, ','));
    return take(reader, '}');
}

/* Reads one value and the space around it. */
static bool read_value(struct reader *reader, int depth, struct json_value *value)
{
    bool good;
    if (depth > MAX_DEPTH)
        return false;
    skip_space(reader);
    if (reader->at == reader->end)
        return false;
    value->text.start = reader->at;
    switch (*reader->at) {
    case '{':
        value->type = JSON_OBJECT;
        good = read_object(reader, depth);
        break;
    case '[':
        value->type = JSON_ARRAY;
        good = read_array(reader, depth);
        break;
    case '"':
        value->type = JSON_STRING;
        good = read_string(reader);
        break;
    case 't':
    case 'f':
    case 'n':
        value->type = JSON_LITERAL;
        good = read_literal(reader);
        break;
    default:
        value->type = JSON_NUMBER;
        good = read_number(reader);
        break;
    }
    value->text.length = (size_t)(reader->at - value->text.start);
    skip_space(reader);
    return good;
}

bool json_read(struct slice text, enum json_type *type, json_member *on_member, void *context)
{
    struct reader reader = {text.start, text.start + text.length, on_member, context};
    struct json_value value;
    if (!read_value(&reader, 0, &value) || reader.at != reader.end)
        return false;
    *type = value.type;
    return true;
}
