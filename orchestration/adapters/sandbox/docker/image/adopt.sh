#!/bin/sh
# Runs as root while taskq's part is put onto an image of the repository's choice.
#   adopt.sh tools    installs git and certificates where git is missing; exit code 97: nothing here can
#   adopt.sh finish   trusts what the default image was built to trust, and puts OpenCode on the path
set -eu

has() { command -v "$1" >/dev/null 2>&1; }

tools() {
    if has git; then
        return
    elif has apt-get; then
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends git ca-certificates
        rm -rf /var/lib/apt/lists/* /var/cache/apt/*
    elif has apk; then
        apk add --no-cache git ca-certificates
    elif has dnf; then
        dnf install -y --setopt=install_weak_deps=False git ca-certificates
        dnf clean all
    elif has microdnf; then
        microdnf install -y --nodocs git ca-certificates
        microdnf clean all
    else
        echo "git is missing, and so are apt-get, apk, dnf and microdnf" >&2
        exit 97
    fi
}

certificates() {
    for each in /usr/local/lib/taskq/certificates/site/*.crt; do
        [ -e "$each" ] || return 0
    done
    if has update-ca-certificates; then
        mkdir -p /usr/local/share/ca-certificates
        cp /usr/local/lib/taskq/certificates/site/*.crt /usr/local/share/ca-certificates/
        update-ca-certificates
    elif has update-ca-trust; then
        cp /usr/local/lib/taskq/certificates/site/*.crt /etc/pki/ca-trust/source/anchors/
        update-ca-trust
    else
        echo "nothing here adds certificates; the site's stay unknown" >&2
    fi
}

finish() {
    certificates
    if ! has opencode; then
        mkdir -p /usr/local/bin
        ln -s /usr/local/lib/taskq/bin/opencode /usr/local/bin/opencode
    fi
}

"$1"
