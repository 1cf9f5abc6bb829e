# The image that taskq opens its sandboxes from: `taskq build-image` makes it.
# What is of taskq itself lies below /usr/local/lib/taskq, so that one COPY brings it onto another image.
ARG BASE_IMAGE=debian:bookworm-slim
ARG OPENCODE_VERSION=1.18.33

# Certificates of the site are optional, and COPY wants one source that is there: hence the Dockerfile beside them.
FROM ${BASE_IMAGE} AS certificates
COPY Dockerfile cert[s] /certs/
RUN rm /certs/Dockerfile

FROM ${BASE_IMAGE} AS base
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install -y --no-install-recommends bash ca-certificates git less nodejs procps ripgrep tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=certificates /certs/ /usr/local/share/ca-certificates/
RUN update-ca-certificates \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /usr/local/lib/taskq/certificates/bundle.crt \
 && cp -R /usr/local/share/ca-certificates /usr/local/lib/taskq/certificates/site
ENV NODE_EXTRA_CA_CERTS=/usr/local/lib/taskq/certificates/bundle.crt

FROM base AS opencode
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends npm
ARG OPENCODE_VERSION
WORKDIR /build
RUN case "$(dpkg --print-architecture)" in amd64) arch=x64 ;; arm64) arch=arm64 ;; *) exit 1 ;; esac \
 && npm pack --silent "opencode-linux-$arch@$OPENCODE_VERSION" \
 && tar -xzf opencode-linux-*.tgz --strip-components=1 \
 && install -m 0755 bin/opencode /build/opencode \
 && test "$(/build/opencode --version)" = "$OPENCODE_VERSION"

FROM base AS guest
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY orchestration/adapters/sandbox/guest/taskq-guest.c /build/
RUN gcc -O2 -static -Wall -Wextra -o /build/taskq-guest /build/taskq-guest.c

FROM base
ARG OPENCODE_VERSION
RUN useradd --create-home --non-unique --uid 1000 --shell /bin/bash agent
COPY --from=opencode /build/opencode /usr/local/lib/taskq/bin/opencode
RUN ln -s /usr/local/lib/taskq/bin/opencode /usr/local/bin/opencode
COPY --from=guest /build/taskq-guest /usr/local/lib/taskq/bin/taskq-guest
ENV OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_MODELS_FETCH=1
LABEL taskq.image=1 \
      org.opencontainers.image.title="taskq sandbox" \
      org.opencontainers.image.description="What taskq runs coding agents in: git, node and a pinned OpenCode" \
      org.opencontainers.image.source="https://github.com/taskq/taskq" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${OPENCODE_VERSION}"
USER agent
WORKDIR /home/agent
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["bash"]
