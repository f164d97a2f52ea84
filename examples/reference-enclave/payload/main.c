/*
 * Stands in for the Katana binary of a TEE image: answers GET / and the JSON-RPC method starknet_chainId.
 *
 * It may run as process 1 of a virtual machine, where nobody restarts it: it ends only when it cannot start. One
 * thread waits on all connections at once; a fixed number of connections, a bound on each request and a deadline
 * for each connection keep slow or hostile clients from taking more than their own slot.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

enum { MAX_CONNECTIONS = 64, DEADLINE_MS = 10 * 1000, BACKLOG = 128 };

struct connection {
    int fd; /* -1: the slot is free */
    long long deadline;
    size_t received;
    size_t response_length; /* 0 while the request is still coming */
    size_t sent;
    bool is_draining; /* all was sent; waiting for the peer to close */
    char request[HTTP_MAX_REQUEST];
    char response[HTTP_MAX_RESPONSE];
};

struct options {
    const char *address;
    const char *port;
};

static struct connection connections[MAX_CONNECTIONS];

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void drop(struct connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
}

static void accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        struct connection *connection = &connections[i];
        if (connection->fd >= 0)
            continue;
        connection->fd = fd;
        connection->deadline = now_ms() + DEADLINE_MS;
        connection->received = connection->response_length = connection->sent = 0;
        connection->is_draining = false;
        return;
    }
    close(fd); /* not reached while the listener is polled only with a free slot */
}

/* One send or receive; returns false when the connection is over. */
static bool step(struct connection *connection)
{
    ssize_t count;
    if (connection->is_draining) {
        /* A close with unread input would reset the connection, and the peer could lose the response. */
        char rest[4096];
        count = recv(connection->fd, rest, sizeof rest, 0);
        return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
    }
    if (connection->response_length > 0) {
        count = send(connection->fd, connection->response + connection->sent,
                     connection->response_length - connection->sent, MSG_NOSIGNAL);
        if (count < 0)
            return errno == EAGAIN || errno == EINTR;
        connection->sent += (size_t)count;
        if (connection->sent == connection->response_length) {
            shutdown(connection->fd, SHUT_WR);
            connection->is_draining = true;
        }
        return true;
    }
    count = recv(connection->fd, connection->request + connection->received,
                 sizeof connection->request - connection->received, 0);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    if (count == 0)
        return false;
    connection->received += (size_t)count;
    connection->response_length = http_respond(connection->request, connection->received, connection->response);
    return true;
}

static void serve(int listener)
{
    struct pollfd polled[MAX_CONNECTIONS + 1];
    for (;;) {
        long long now = now_ms();
        long long next_deadline = now + DEADLINE_MS;
        bool is_full = true;
        for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
            struct connection *connection = &connections[i];
            if (connection->fd >= 0 && connection->deadline <= now)
                drop(connection);
            if (connection->fd < 0)
                is_full = false;
            else if (connection->deadline < next_deadline)
                next_deadline = connection->deadline;
            bool is_sending = connection->response_length > 0 && !connection->is_draining;
            polled[i] = (struct pollfd){.fd = connection->fd, .events = is_sending ? POLLOUT : POLLIN};
        }
        /* With no free slot, newcomers wait in the kernel's queue. */
        polled[MAX_CONNECTIONS] = (struct pollfd){.fd = is_full ? -1 : listener, .events = POLLIN};

        if (poll(polled, MAX_CONNECTIONS + 1, (int)(next_deadline - now)) <= 0)
            continue;
        for (size_t i = 0; i < MAX_CONNECTIONS; i++)
            if (polled[i].fd >= 0 && polled[i].revents != 0 && !step(&connections[i]))
                drop(&connections[i]);
        if (polled[MAX_CONNECTIONS].revents != 0)
            accept_one(listener);
    }
}

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "katana: %s: %s\n", what, detail);
    exit(1);
}

static int listen_on(const struct options *options)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
    socklen_t length;
    char *end;
    unsigned long port = strtoul(options->port, &end, 10);

    if (options->port[0] < '0' || options->port[0] > '9' || *end != '\0' || port > 65535)
        fail("--http.port is not a port number", options->port);
    if (inet_pton(AF_INET, options->address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        length = sizeof *v4;
    } else if (inet_pton(AF_INET6, options->address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        length = sizeof *v6;
    } else {
        fail("--http.addr is not an IP address", options->address);
        return -1;
    }

    int on = 1;
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fail("cannot make a socket", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&storage, length) < 0 || listen(fd, BACKLOG) < 0)
        fail("cannot listen", strerror(errno));
    return fd;
}

/* The value of --name VALUE or --name=VALUE at *index, NULL when the argument is another one. */
static const char *option_value(const char *name, char **arguments, int count, int *index)
{
    size_t length = strlen(name);
    const char *argument = arguments[*index];
    if (strncmp(argument, name, length) != 0)
        return NULL;
    if (argument[length] == '=')
        return argument + length + 1;
    if (argument[length] != '\0')
        return NULL;
    if (*index + 1 == count)
        fail("this option needs a value", name);
    *index += 1;
    return arguments[*index];
}

static struct options parse_options(int count, char **arguments)
{
    struct options options = {"127.0.0.1", "5050"};
    for (int i = 1; i < count; i++) {
        const char *value;
        if ((value = option_value("--http.addr", arguments, count, &i)) != NULL) {
            options.address = value;
        } else if ((value = option_value("--http.port", arguments, count, &i)) != NULL) {
            options.port = value;
        } else if (strcmp(arguments[i], "--version") == 0) {
            puts("katana " KATANA_VERSION " (reference payload)");
            exit(0);
        } else {
            fail("unknown argument", arguments[i]);
        }
    }
    return options;
}

int main(int count, char **arguments)
{
    struct options options = parse_options(count, arguments);

    /* A client that goes away is an error code, not the end. */
    signal(SIGPIPE, SIG_IGN);
    /* Orphans come to process 1; ignoring SIGCHLD has the kernel reap them. */
    signal(SIGCHLD, SIG_IGN);

    for (size_t i = 0; i < MAX_CONNECTIONS; i++)
        connections[i].fd = -1;
    int listener = listen_on(&options);
    printf("katana %s listening on %s port %s\n", KATANA_VERSION, options.address, options.port);
    fflush(stdout);
    serve(listener);
}
