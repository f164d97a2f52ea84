# The payload as one static binary, the same bytes on every machine.
#
#   docker build --network none -f reproducible.Dockerfile --build-arg BASE_IMAGE=... --build-arg SOURCE_DATE_EPOCH=... .
#
# No "syntax" line: it would fetch a front end from a registry. Works with the classic builder and with BuildKit.
ARG BASE_IMAGE

# --- compile ----------------------------------------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS builder
# An ARG ends at each FROM.
ARG SOURCE_DATE_EPOCH
# The compiler by its versioned name: the plain name gcc is another package.
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin TZ=UTC LANG=C.UTF-8 LC_ALL=C.UTF-8 REALGCC=gcc-14
COPY payload /build/payload
RUN test -n "$SOURCE_DATE_EPOCH" || { echo "build argument SOURCE_DATE_EPOCH is required" >&2; exit 1; }; \
    sh /build/payload/build.sh /katana && chmod 0755 /katana && /katana --version

# --- export -----------------------------------------------------------------------------------------------------------
FROM scratch
COPY --from=builder /katana /katana
ENTRYPOINT ["/katana"]
