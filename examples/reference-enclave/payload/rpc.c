#include "rpc.h"

#include <stdio.h>

/* "KATANA" in ASCII: the chain id of a Katana that was given no chain configuration. */
static const char chain_id[] = "0x4b4154414e41";

struct request {
    struct slice id;
    struct slice method;
    bool has_id;
    bool has_method;
    bool is_version_2;
    bool is_invalid;
};

static void on_member(void *context, struct slice key, struct json_value value)
{
    struct request *request = context;
    if (slice_equals(key, "jsonrpc")) {
        request->is_version_2 = slice_equals(value.text, "\"2.0\"");
    } else if (slice_equals(key, "method")) {
        request->has_method = value.type == JSON_STRING;
        request->method = value.text;
    } else if (slice_equals(key, "params")) {
        if (value.type != JSON_ARRAY && value.type != JSON_OBJECT)
            request->is_invalid = true;
    } else if (slice_equals(key, "id")) {
        bool may_be_id = value.type == JSON_STRING || value.type == JSON_NUMBER || slice_equals(value.text, "null");
        if (!may_be_id || value.text.length > RPC_MAX_ID) {
            request->is_invalid = true;
            return;
        }
        request->has_id = true;
        request->id = value.text;
    }
}

static size_t error(struct slice id, int code, const char *message, char *response)
{
    int length = snprintf(response, RPC_MAX_RESPONSE,
                          "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":%d,\"message\":\"%s\"},\"id\":%.*s}", code, message,
                          (int)id.length, id.start);
    return (size_t)length;
}

size_t rpc_respond(struct slice body, char response[RPC_MAX_RESPONSE])
{
    struct request request = {.id = {"null", 4}};
    enum json_type type;

    if (!json_read(body, &type, on_member, &request))
        return error((struct slice){"null", 4}, -32700, "Parse error", response);
    if (type != JSON_OBJECT || !request.is_version_2 || !request.has_method || request.is_invalid)
        return error(request.id, -32600, "Invalid Request", response);
    if (!request.has_id)
        return 0;
    if (!slice_equals(request.method, "\"starknet_chainId\""))
        return error(request.id, -32601, "Method not found", response);
    return (size_t)snprintf(response, RPC_MAX_RESPONSE, "{\"jsonrpc\":\"2.0\",\"result\":\"%s\",\"id\":%.*s}", chain_id,
                            (int)request.id.length, request.id.start);
}
