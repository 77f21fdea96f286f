#!/bin/sh
# Ends the services when the agent goes; an upgrade leaves them to the new package.
set -eu

case ${1-} in
    remove | 0) ;;
    # apk tells the version that goes, and runs this for removals alone.
    [0-9]*.*) ;;
    *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl disable --now himdsd.service arcproxyd.service extd.service || true
fi
