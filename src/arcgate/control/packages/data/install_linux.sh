#!/bin/sh
# Installs the agent of the cloud @@CLOUD_NAME@@ on this Linux machine. Made by the cloud's control plane;
# run it again to repair or upgrade. It changes nothing but the files that it names at its end.
set -eu
umask 022

VERSION=@@VERSION@@
PLATFORM=@@PLATFORM@@
PYTHON_VERSION=@@PYTHON_VERSION@@
BASE_URL=@@BASE_URL@@
CLOUD_NAME=@@CLOUD_NAME_QUOTED@@

CONNECT_TIMEOUT=30
TRANSFER_TIMEOUT=600

proxy=""
root=""
wanted=""
output=""
scratch=""
fresh=""

usage() {
    cat <<'END_OF_USAGE'
Usage: sh install_linux_azcmagent.sh [OPTION]...
  --proxy URL           reach the cloud through this HTTP proxy (URL or HOST:PORT), and keep it as proxy.url
  --root DIR            install below DIR instead of /, without users and services
  --desiredversion X    install this version; only the one that the control plane runs is on offer
  --output FILE         write the message of a failure to FILE as well
  --help                show this
Exit codes: 0 installed; 23 bad option; 132 no package for this machine; 143 Python is missing; 146 download failed;
147 version not on offer; 150 other failure; 155 not root; 158 disk full; 171 the download is damaged.
END_OF_USAGE
}

say() {
    printf '%s\n' "$*"
}

fail() {
    code=$1
    shift
    printf 'Installation failed: %s\n' "$*" >&2
    if [ -n "$output" ]; then
        printf '%s\n' "$*" >"$output" || true
    fi
    exit "$code"
}

clean_up() {
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
    if [ -n "$fresh" ]; then rm -rf "$fresh"; fi
}

need_value() {
    if [ "$2" -lt 2 ]; then fail 23 "The option $1 needs a value."; fi
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --proxy) need_value "$1" $#; proxy=$2; shift 2 ;;
            --proxy=*) proxy=${1#*=}; shift ;;
            --root) need_value "$1" $#; root=$2; shift 2 ;;
            --root=*) root=${1#*=}; shift ;;
            --desiredversion) need_value "$1" $#; wanted=$2; shift 2 ;;
            --desiredversion=*) wanted=${1#*=}; shift ;;
            --output) need_value "$1" $#; output=$2; shift 2 ;;
            --output=*) output=${1#*=}; shift ;;
            --help | -h) usage; exit 0 ;;
            *) fail 23 "There is no option $1. Run it with --help." ;;
        esac
    done
    case $proxy in
        "" | http://* | https://*) ;;
        *://*) fail 23 "The proxy must be an http or https URL, or HOST:PORT." ;;
        *) proxy=http://$proxy ;;
    esac
    case $root in
        "" | /) root="" ;;
        /*) root=${root%/} ;;
        *) fail 23 "The folder of --root must be an absolute path." ;;
    esac
}

check_machine() {
    if [ "$(uname -s)" != Linux ]; then fail 132 "This package is for Linux."; fi
    if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then fail 155 "Run it as root, for example by sudo."; fi
    if [ -n "$wanted" ] && [ "$wanted" != "$VERSION" ]; then
        fail 147 "Version $wanted is not on offer; this control plane has $VERSION."
    fi
}

# The service users must be able to run it too, so every folder above it has to be open to all.
PROBE='
import os, sys, sysconfig
place = os.path.realpath(sys.executable)
parents = [place]
while parents[-1] != "/":
    parents.append(os.path.dirname(parents[-1]))
is_open = all(os.stat(one).st_mode & 1 for one in parents)
print(sysconfig.get_config_var("SOABI"), "open" if is_open else "closed", place)
'

find_python() {
    found=""
    for candidate in "/usr/bin/python$PYTHON_VERSION" "/usr/local/bin/python$PYTHON_VERSION" \
        "python$PYTHON_VERSION" /usr/bin/python3 python3; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        answer=$("$candidate" -IS -c "$PROBE" 2>/dev/null) || continue
        abi=${answer%% *}
        rest=${answer#* }
        found="$found $candidate ($abi)"
        if [ "$abi" != "$PLATFORM" ]; then continue; fi
        if [ -z "$root" ] && [ "${rest%% *}" != open ]; then continue; fi
        python=${rest#* }
        case $python in
            *[!A-Za-z0-9/._+-]*) continue ;;
            *) return 0 ;;
        esac
    done
    if [ -z "$found" ]; then
        fail 143 "Python 3.11 or newer is needed. Install python$PYTHON_VERSION with the system's package manager."
    fi
    fail 132 "The package is for Python $PYTHON_VERSION ($PLATFORM), in a folder that all users can reach; found:$found." \
        "Install python$PYTHON_VERSION, or have a control plane that runs on this machine's kind of system make the package."
}

write_authorities() {
    cat >"$scratch/ca.pem" <<'END_OF_AUTHORITIES'
@@CA_PEM@@
END_OF_AUTHORITIES
    if ! grep -q 'BEGIN CERTIFICATE' "$scratch/ca.pem"; then rm -f "$scratch/ca.pem"; fi
}

# The proxy goes by the environment: its password must not stand in the list of processes.
with_proxy() {
    if [ -n "$proxy" ]; then
        env https_proxy="$proxy" HTTPS_PROXY="$proxy" no_proxy="" NO_PROXY="" "$@"
    else
        "$@"
    fi
}

fetch() {
    url=$1
    file=$2
    if command -v curl >/dev/null 2>&1; then
        set -- curl --fail --silent --show-error --proto '=https' --connect-timeout "$CONNECT_TIMEOUT" \
            --max-time "$TRANSFER_TIMEOUT" --retry 2 --output "$file"
        if [ -f "$scratch/ca.pem" ]; then set -- "$@" --cacert "$scratch/ca.pem"; fi
    elif command -v wget >/dev/null 2>&1; then
        set -- wget --quiet --timeout="$CONNECT_TIMEOUT" --tries=3 --output-document="$file"
        if [ -f "$scratch/ca.pem" ]; then set -- "$@" --ca-certificate="$scratch/ca.pem"; fi
    else
        fail 146 "Neither curl nor wget is installed. Install one of them."
    fi
    with_proxy "$@" "$url" || fail 146 "$url could not be downloaded. Check the name, the firewall and --proxy."
}

CHECK='
import hashlib, sys
archive, sums = sys.argv[1:]
with open(archive, "rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
with open(sums, encoding="ascii") as file:
    sys.exit(file.read(64) != digest)
'

download() {
    name="azcmagent-$VERSION-$PLATFORM.tar.gz"
    say "Downloading $BASE_URL/packages/azcmagent/$name"
    fetch "$BASE_URL/packages/azcmagent/$name.sha256" "$scratch/$name.sha256"
    fetch "$BASE_URL/packages/azcmagent/$name" "$scratch/$name"
    "$python" -IS -c "$CHECK" "$scratch/$name" "$scratch/$name.sha256" ||
        fail 171 "The download does not have its SHA-256 checksum. Run the installer again; if it stays so, look for who changes it on its way."
}

write_launcher() {
    {
        printf '#!%s -IS\n' "$python"
        cat "$fresh/launchers/$1"
    } >"$fresh/bin/$1"
    chmod 755 "$fresh/bin/$1"
}

unpack() {
    home=$root/opt/azcmagent
    fresh=$home.new.$$
    mkdir -p "$fresh" || fail 150 "The folder $fresh can't be made."
    tar -xzf "$scratch/$name" -C "$fresh" -o || fail 158 "The package can't be unpacked into $fresh. Check the space there."
    for launcher in azcmagent himdsd arcproxyd; do write_launcher "$launcher"; done
    # By this name clients of the token endpoint find out that there is one.
    ln -s himdsd "$fresh/bin/himds"
    rm -rf "$fresh/launchers"
    "$python" -IS -c 'import sys; sys.path.insert(0, sys.argv[1]); import cryptography.x509, h11, joserfc' "$fresh/lib" ||
        fail 132 "The package's libraries don't load here: this system's C library is too old for them."
    "$python" -IS -m compileall -q -j 0 "$fresh/lib" >/dev/null 2>&1 || true
}

put_in_place() {
    old=$home.old.$$
    if [ -e "$home" ]; then mv "$home" "$old"; fi
    if ! mv "$fresh" "$home"; then
        if [ -e "$old" ]; then mv "$old" "$home"; fi
        fail 150 "$home can't be written."
    fi
    fresh=""
    rm -rf "$old"
    mkdir -p "$root/usr/bin"
    ln -sfn ../../opt/azcmagent/bin/azcmagent "$root/usr/bin/azcmagent"
}

write_cloud() {
    clouds=$root/etc/azcmagent/clouds.d
    mkdir -p "$clouds"
    cat >"$clouds/.$CLOUD_NAME.json.$$" <<'END_OF_CLOUD'
@@CLOUD_JSON@@
END_OF_CLOUD
    mv "$clouds/.$CLOUD_NAME.json.$$" "$clouds/$CLOUD_NAME.json"
}

make_users() {
    # Services share files by the group arcproxy. Programs that may have tokens are in the group himds: they
    # must not be able to read the machine's key.
    for group in himds arcproxy; do
        if ! getent group "$group" >/dev/null 2>&1; then
            groupadd --system "$group" || fail 150 "The group $group can't be made."
        fi
    done
    for user in himds arcproxy; do
        if ! id "$user" >/dev/null 2>&1; then
            useradd --system --gid arcproxy --home-dir /var/opt/azcmagent --no-create-home --shell /usr/sbin/nologin "$user" ||
                fail 150 "The user $user can't be made."
        fi
    done
    usermod --append --groups himds himds || fail 150 "The user himds can't join its group."
}

make_folder() {
    mkdir -p "$root/var/opt/azcmagent/$1"
    chmod "$2" "$root/var/opt/azcmagent/$1"
    if [ -z "$root" ]; then chgrp arcproxy "$root/var/opt/azcmagent/$1" && chmod "$2" "$root/var/opt/azcmagent/$1"; fi
}

make_folders() {
    make_folder . 755
    make_folder state 2775
    make_folder log 2775
    make_folder certs 2770
    make_folder tokens 2750
    # Programs in the group read challenge files; himdsd alone makes them.
    if [ -z "$root" ]; then
        chown himds:himds "$root/var/opt/azcmagent/tokens" && chmod 2750 "$root/var/opt/azcmagent/tokens"
    fi
}

write_environment() {
    mkdir -p /lib/systemd/system.conf.d
    cat >"/lib/systemd/system.conf.d/.azcmagent.conf.$$" <<'END_OF_ENVIRONMENT'
# Tells programs where they get tokens of this machine's identity.
[Manager]
DefaultEnvironment="IDENTITY_ENDPOINT=http://localhost:40342/metadata/identity/oauth2/token" "IMDS_ENDPOINT=http://localhost:40342"
END_OF_ENVIRONMENT
    chmod 644 "/lib/systemd/system.conf.d/.azcmagent.conf.$$"
    mv "/lib/systemd/system.conf.d/.azcmagent.conf.$$" /lib/systemd/system.conf.d/azcmagent.conf
}

install_services() {
    if [ -n "$root" ] || [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: start 'himdsd' and 'arcproxyd' of $home/bin by your own means after connecting."
        return 0
    fi
    for service in himdsd arcproxyd; do
        install -m 644 "$home/systemd/$service.service" "/etc/systemd/system/$service.service"
    done
    write_environment
    systemctl daemon-reload
    for service in himdsd arcproxyd; do systemctl try-restart "$service.service" || true; done
}

KEEP_PROXY='
import os, sys
sys.path.insert(0, sys.argv[1])
from arcgate.agent.local_settings import SettingsFile
from arcgate.agent.paths import AgentPaths
SettingsFile(AgentPaths.from_environment()).set("proxy.url", os.environ["ARCGATE_PROXY"])
'

keep_proxy() {
    if [ -z "$proxy" ]; then return 0; fi
    set -- env ARCGATE_PROXY="$proxy"
    if [ -n "$root" ]; then set -- "$@" AZCMAGENT_HOME="$root/var/opt/azcmagent"; fi
    # Nothing of the agent is secret here but the proxy's password, and that is not an argument of python's.
    "$@" "$python" -IS -c "$KEEP_PROXY" "$home/lib" ||
        say "The proxy was not kept; run: azcmagent config set proxy.url URL"
}

finish() {
    say "The agent $VERSION is installed in $home (cloud file: $clouds/$CLOUD_NAME.json)."
    say "Connect this machine next, as root:"
    if [ -n "$root" ]; then say "  export AZCMAGENT_HOME='$root/var/opt/azcmagent' AZCMAGENT_CLOUDS='$clouds'"; fi
    say "  ${root}/usr/bin/azcmagent connect --cloud \"$CLOUD_NAME\" --tenant-id TENANT --subscription-id SUBSCRIPTION \\"
    say "    --resource-group GROUP --location LOCATION --gateway-id GATEWAY_RESOURCE_ID"
}

main() {
    read_options "$@"
    check_machine
    scratch=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 11' HUP INT TERM
    find_python
    write_authorities
    download
    unpack
    put_in_place
    write_cloud
    if [ -z "$root" ]; then make_users; fi
    make_folders
    install_services
    keep_proxy
    finish
}

# All of it has arrived when this line has: a script that was cut off on its way does nothing.
main "$@"
