/* JSON-RPC 2.0: the one method that this payload has. */
#ifndef RPC_H
#define RPC_H

#include <stddef.h>

#include "json.h"

/* An id longer than this is refused as an invalid request, so that every response fits. */
enum { RPC_MAX_ID = 256, RPC_MAX_RESPONSE = RPC_MAX_ID + 256 };

/* Writes the response to one request body; returns its length, 0 for a notification (which gets no response). */
size_t rpc_respond(struct slice body, char response[RPC_MAX_RESPONSE]);

#endif
