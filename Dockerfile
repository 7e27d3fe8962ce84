# syntax=docker/dockerfile:1
# docker build -t sorter . ; see deploy/compose.yaml for how to run it.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sorter ./sorter
# Wheels only: an image is no place for compilers, and a missing wheel should stop the build.
RUN python3 -m venv /opt/sorter \
    && /opt/sorter/bin/pip install --no-cache-dir --only-binary=:all: ".[formats]" \
    && /opt/sorter/bin/python -m compileall -q /opt/sorter

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="sorter" \
      org.opencontainers.image.description="DICOM archive sorter" \
      org.opencontainers.image.licenses="MIT"
# A fixed uid, so that the owner of the mounted folders can be set before the first start.
RUN groupadd --gid 10001 sorter \
    && useradd --uid 10001 --gid sorter --no-log-init --no-create-home --home-dir / --shell /usr/sbin/nologin sorter \
    && install -d -m 0755 /etc/sorter /srv/sorter \
    && install -d -m 2770 -o sorter -g sorter /srv/sorter/incoming /srv/sorter/archive
COPY --from=build /opt/sorter /opt/sorter
ENV PATH=/opt/sorter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SORTER_INCOMING=/srv/sorter/incoming \
    SORTER_ARCHIVE=/srv/sorter/archive
VOLUME ["/srv/sorter/incoming", "/srv/sorter/archive"]
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["sorter", "status", "--quiet"]
ENTRYPOINT ["sorter"]
