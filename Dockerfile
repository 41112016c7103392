# LabRelay with its sandbox and simulated analyzers, to look at (`compose.yaml`), or as the daemon of a site:
#
#   docker run --network host --volume ./site:/etc/labrelay --volume labrelay-data:/var/lib/labrelay labrelay run
#
# A laboratory's gateway is better served by tools/install.sh and systemd: serial ports, credentials, a watchdog.
# `make image-check` builds and tries this step by step where no container engine runs.
#
# The base is named by its tag, not by a digest: Debian's packages below are those of the day as well, so that a build has
# the security updates of that day. A site that has to build the same bytes writes debian:bookworm-slim@sha256:... twice.

FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/run.lock requirements/run.lock
RUN python3 -m venv /opt/labrelay/venv \
 && /opt/labrelay/venv/bin/python -m pip install --no-cache-dir --no-input --require-hashes --only-binary :all: -r requirements/run.lock
COPY . .
RUN /opt/labrelay/venv/bin/python -m pip install --no-cache-dir --no-input --no-deps --no-build-isolation . \
 && /opt/labrelay/venv/bin/python -I -m engine.web.page_templates

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 990 --home-dir /var/lib/labrelay --shell /usr/sbin/nologin --groups dialout labrelay \
 && install -d -m 0700 -o labrelay -g labrelay /var/lib/labrelay
COPY --from=build /opt/labrelay /opt/labrelay
ENV PATH=/opt/labrelay/venv/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER labrelay
WORKDIR /var/lib/labrelay
VOLUME ["/var/lib/labrelay"]
# The page, MLLP and ASTM; the page listens on loopback alone, so use the host's network or a tunnel.
EXPOSE 8580 2575 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["labrelay", "status", "-o", "json"]
ENTRYPOINT ["labrelay"]
CMD ["run"]
