#!/bin/sh
# Keys, settings and logs stay until the package is purged: the machine may get the agent back.
set -eu

if [ "${1-}" = purge ]; then
    rm -rf /var/opt/azcmagent /etc/azcmagent
    rm -rf /etc/systemd/system/himdsd.service.d/proxy.conf /etc/systemd/system/arcproxyd.service.d/proxy.conf
    rm -rf /etc/systemd/system/extd.service.d/proxy.conf
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
