# The portal: web server, worker and management commands are one image with different commands.
FROM python:3.13-slim-trixie

# What the pipeline calls: git for sources, gpgv and dpkg for materials, openssl and qemu stay out.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates debian-archive-keyring git gpgv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home portal \
    && install --directory --owner portal /data /mirror

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY manage.py gunicorn.conf.py ./
COPY tee_portal ./tee_portal
COPY attestations ./attestations
COPY builds ./builds
COPY templates ./templates
COPY static ./static
# Its sources stay where they are; this makes its programs and its version known.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index --editable .

USER portal
ENV PYTHONUNBUFFERED=1 TEE_PORTAL_DATA_DIR=/data
VOLUME /data /mirror
EXPOSE 8000
CMD ["gunicorn", "tee_portal.wsgi", "--bind", "0.0.0.0:8000"]
