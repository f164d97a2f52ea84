# The VM image: kernel, initrd with Katana, firmware and a bootable disk, the same bytes on every machine.
#
#   docker build --network none -f vm-image.Dockerfile --build-arg BASE_IMAGE=... --build-arg SOURCE_DATE_EPOCH=... \
#       --build-arg KATANA_BINARY=./katana .
#
# The context holds this repository, the binary at KATANA_BINARY, and in materials/ the locked .deb files of the
# groups that tee-portal.toml names for this stage. No network, no "syntax" line (it would fetch a front end).
ARG BASE_IMAGE

# --- 1. package fetcher: the locked packages are already fetched; see that none is missing ------------------------------
FROM ${BASE_IMAGE} AS package-fetcher
ARG SOURCE_DATE_EPOCH
ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin TZ=UTC LANG=C.UTF-8 LC_ALL=C.UTF-8
COPY materials /packages
RUN test -n "$SOURCE_DATE_EPOCH" || { echo "build argument SOURCE_DATE_EPOCH is required" >&2; exit 1; }; \
    for name in busybox-static linux-image ovmf-amdsev; do \
        set -- /packages/${name}[-_]*.deb; \
        test $# -eq 1 && test -f "$1" || { echo "want exactly one $name package in materials/, got: $*" >&2; exit 1; }; \
        dpkg-deb --field "$1" Package Version || exit 1; \
    done

# --- 2. component builder: kernel, firmware, busybox and modules out of the packages ------------------------------------
# Each stage continues the one before it: copying packages and trees between stages costs seconds and changes nothing.
FROM package-fetcher AS component-builder
COPY tee/scripts/collect-modules.sh /scripts/
RUN set -eu; mkdir /extracted /components; \
    for deb in /packages/*.deb; do dpkg-deb -x "$deb" /extracted; done; \
    cp /extracted/boot/vmlinuz-* /components/vmlinuz; \
    cp /extracted/usr/share/ovmf/OVMF.amdsev.fd /components/ovmf.fd; \
    cp /extracted/usr/bin/busybox /components/busybox; \
    sh /scripts/collect-modules.sh /extracted/usr/lib/modules/* /components/modules virtio_pci virtio_net sev-guest; \
    cat /components/modules/load-order; \
    rm -rf /extracted

# --- 3. initrd builder --------------------------------------------------------------------------------------------------
FROM component-builder AS initrd-builder
ARG SOURCE_DATE_EPOCH
ARG KATANA_BINARY=./katana
COPY tee /build/tee
COPY ${KATANA_BINARY} /components/katana
RUN sh /build/tee/scripts/create-initrd.sh \
        /components/katana /components/busybox /components/modules /build/tree /components/initrd.img

# --- 4. image builder ---------------------------------------------------------------------------------------------------
# The disk is made, compressed and removed in one step. disk.raw itself is not exported: a layer has no holes, and
# each copy of its 2 GiB between stages and out of the engine takes 12 to 23 seconds and 2 GiB of disk. What is
# published and compared is the digest of the decompressed disk, so it does not matter that igzip's output could
# differ on a processor without SSE4.2. Level 2 is the highest that gave the same output on all others tried.
FROM initrd-builder AS image-builder
ARG SOURCE_DATE_EPOCH
RUN set -eu; mkdir /output; \
    sh /build/tee/scripts/build-vm-image.sh /components/vmlinuz /components/initrd.img /build/tee/configs/cmdline.txt \
        /usr/lib/systemd/boot/efi/systemd-bootx64.efi /build/tree /build/disk.raw; \
    sha256sum </build/disk.raw | sed 's/ .*/  disk.raw/'; \
    igzip -2 -n -T 1 -o /output/disk.raw.gz /build/disk.raw; \
    rm /build/disk.raw; \
    cp /components/vmlinuz /components/initrd.img /components/ovmf.fd /output/

# --- 5. export ----------------------------------------------------------------------------------------------------------
FROM scratch
COPY --from=image-builder /output /output
# Never run; `docker create` wants a command.
CMD ["/output"]
