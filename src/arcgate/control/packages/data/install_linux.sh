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
# A line each: version, kind, C library, machine, file, SHA-256.
OFFERS='@@OFFERS@@'
# Public keys of those who may sign the list of packages (Ed25519, base64), a line each.
PACKAGE_KEYS='@@PACKAGE_KEYS@@'

CONNECT_TIMEOUT=30
TRANSFER_TIMEOUT=600

# By the environment as well, for a proxy with a password.
proxy=${ARCGATE_PROXY-}
root=""
wanted=""
output=""
pinned=""
scratch=""
fresh=""
old=""
home=""
is_told=""

usage() {
    cat <<'END_OF_USAGE'
Usage: sh install_linux_azcmagent.sh [OPTION]...
  --proxy URL           reach the cloud through this HTTP proxy (URL or HOST:PORT), and keep it as proxy.url;
                        ARCGATE_PROXY in the environment is the same, for URLs with a password
  --root DIR            install below DIR instead of /, without users and services
  --desiredversion X    install this version; only the one that the control plane runs is on offer
  --package-key KEY     demand that this key (Ed25519, base64) has signed the package; needs openssl 3
  --output FILE         write the message of a failure to FILE as well
  --help                show this
Exit codes: 0 installed; 11 interrupted; 23 bad option; 132 no package for this machine; 143 the package manager
failed, or Python is missing; 146 download failed; 147 version not on offer; 150 other failure; 155 not root;
158 disk full; 171 the download is damaged, or not signed as it must be.
END_OF_USAGE
}

say() {
    printf '%s\n' "$*"
}

fail() {
    code=$1
    shift
    is_told=yes
    printf 'Installation failed: %s\n' "$*" >&2
    if [ -n "$output" ]; then
        printf '%s\n' "$*" >"$output" || true
    fi
    exit "$code"
}

clean_up() {
    code=$?
    # Ended while one was being exchanged for the other.
    if [ -n "$old" ] && [ ! -e "$home" ]; then mv "$old" "$home"; fi
    if [ -n "$old" ]; then rm -rf "$old"; fi
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
    if [ -n "$fresh" ]; then rm -rf "$fresh"; fi
    if [ "$code" -ne 0 ] && [ -z "$is_told" ]; then fail 150 "A step failed; see the words above."; fi
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
            --package-key) need_value "$1" $#; pinned=$2; shift 2 ;;
            --package-key=*) pinned=${1#*=}; shift ;;
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
    case $proxy in
        *[!A-Za-z0-9:/?#@!\&\(\)*+,\;=._~%\[\]-]*) fail 23 "The proxy's URL holds characters that no URL has; write them as %XX." ;;
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
}

has() {
    command -v "$1" >/dev/null 2>&1
}

libc_here() {
    for loader in /lib/ld-musl-*; do
        if [ -e "$loader" ]; then
            echo musl
            return 0
        fi
    done
    echo gnu
}

# The package manager of this system, and the kind of package that it takes.
find_tool() {
    tool=archive
    kind=archive
    if [ -n "$root" ]; then return 0; fi
    for candidate in apt-get:deb dnf:rpm yum:rpm zypper:rpm apk:apk; do
        if has "${candidate%%:*}"; then
            tool=${candidate%%:*}
            kind=${candidate#*:}
            return 0
        fi
    done
}

# Sets `package`, `digest` and `version` to those of the newest package on offer of this kind.
find_offer() {
    package=""
    found=$(printf '%s\n' "$OFFERS" | sort -r -V 2>/dev/null || printf '%s\n' "$OFFERS")
    while read -r offered of_kind of_libc of_machine of_file of_digest; do
        if [ "$of_kind" = "$1" ] && [ "$of_libc" = "$libc" ] && [ "$of_machine" = "$machine" ] &&
            [ "${wanted:-$offered}" = "$offered" ]; then
            version=$offered
            package=$of_file
            digest=$of_digest
            return 0
        fi
    done <<END_OF_OFFERS
$found
END_OF_OFFERS
    return 1
}

choose_package() {
    libc=$(libc_here)
    machine=$(uname -m)
    find_tool
    if find_offer "$kind"; then return 0; fi
    tool=archive
    if find_offer archive; then return 0; fi
    tool=python
    if [ -n "$wanted" ] && [ "$wanted" != "$VERSION" ]; then
        fail 147 "Version $wanted is not on offer for this machine; this control plane has $VERSION."
    fi
    version=$VERSION
    find_python
}

need_unpacking() {
    if ! has tar || ! has gzip; then fail 150 "tar and gzip are needed to unpack the agent. Install them."; fi
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
    code=$?
    if ! grep -q 'BEGIN CERTIFICATE' "$scratch/ca.pem"; then rm -f "$scratch/ca.pem"; fi
    return "$code"
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
        set -- wget --no-verbose --timeout="$CONNECT_TIMEOUT" --tries=3 --output-document="$file"
        if [ -f "$scratch/ca.pem" ]; then set -- "$@" --ca-certificate="$scratch/ca.pem"; fi
    else
        fail 146 "Neither curl nor wget is installed. Install one of them."
    fi
    code=0
    with_proxy "$@" "$url" || code=$?
    case $1:$code in
        *:0) ;;
        curl:23 | wget:3) fail 158 "$file can't be written. Check the space in ${TMPDIR:-/tmp}; TMPDIR names another folder." ;;
        *) fail 146 "$url could not be downloaded. Check the name, the firewall and --proxy." ;;
    esac
}

check_digest() {
    if has sha256sum; then
        actual=$(sha256sum <"$scratch/$package")
    elif has openssl; then
        actual=$(openssl dgst -sha256 -r <"$scratch/$package")
    else
        fail 150 "Neither sha256sum nor openssl is installed. Install one of them."
    fi
    if [ "${actual%% *}" != "$digest" ]; then
        fail 171 "The download does not have its SHA-256 checksum. Run the installer again; if it stays so, look for who changes it on its way."
    fi
}

# Older ones know neither Ed25519 nor signatures over whole files.
can_verify() {
    has openssl && openssl pkeyutl -help 2>&1 | grep -q -e -rawin
}

is_signed() {
    while read -r key signature; do
        if [ -z "$signature" ] || ! printf '%s\n' "$PACKAGE_KEYS" | grep -q -x -F -e "$key"; then continue; fi
        # What precedes the 32 bytes says that they are a key for Ed25519 (RFC 8410).
        printf '%s\n' '-----BEGIN PUBLIC KEY-----' "MCowBQYDK2VwAyEA$key" '-----END PUBLIC KEY-----' >"$scratch/key.pem"
        printf '%s\n' "$signature" | openssl base64 -d -A >"$scratch/signature" || continue
        if openssl pkeyutl -verify -pubin -inkey "$scratch/key.pem" -rawin -in "$scratch/signed" \
            -sigfile "$scratch/signature" >/dev/null 2>&1; then return 0; fi
    done <"$scratch/index.json.sig"
    return 1
}

check_signature() {
    if [ -n "$pinned" ]; then PACKAGE_KEYS=$pinned; fi
    if [ -z "$PACKAGE_KEYS" ]; then return 0; fi
    if ! can_verify; then
        if [ -n "$pinned" ]; then fail 150 "openssl 3 or newer is needed to verify signatures. Install it, or leave out --package-key."; fi
        say "The signature is not verified, for there is no openssl 3 here; the checksum came with this script."
        return 0
    fi
    fetch "$BASE_URL/packages/azcmagent/index.json" "$scratch/index.json"
    fetch "$BASE_URL/packages/azcmagent/index.json.sig" "$scratch/index.json.sig"
    { printf 'arcgate-package-index 1\n' && cat "$scratch/index.json"; } >"$scratch/signed"
    if ! is_signed; then
        fail 171 "The cloud's list of packages is not signed by a trusted key. Ask the cloud's operator who changed it."
    fi
    if ! grep -q -F -e "\"$digest\"" "$scratch/index.json"; then
        fail 171 "$package is not in the signed list of packages. Ask the cloud's operator to sign it."
    fi
}

download() {
    if [ "$tool" = python ]; then
        package="azcmagent-$VERSION-$PLATFORM.tar.gz"
        fetch "$BASE_URL/packages/azcmagent/$package.sha256" "$scratch/$package.sha256"
        read -r digest _ <"$scratch/$package.sha256" || fail 171 "The checksum is empty."
    fi
    check_signature
    say "Downloading $BASE_URL/packages/azcmagent/$package"
    fetch "$BASE_URL/packages/azcmagent/$package" "$scratch/$package"
    check_digest
}

# What an archive left would stand beside the package's files.
make_room() {
    if [ -e /opt/azcmagent/prepare_machine ] || [ -e /opt/azcmagent/lib/arcgate ]; then rm -rf /opt/azcmagent; fi
}

# The package needs nothing but the C library, so no repository has to be within reach.
install_package() {
    home=/opt/azcmagent
    chmod 755 "$scratch" # apt reads the file as a user of its own
    make_room
    code=0
    case $tool in
        apt-get)
            DEBIAN_FRONTEND=noninteractive apt-get install --yes --allow-downgrades --reinstall --no-install-recommends \
                -o DPkg::Lock::Timeout=300 "$scratch/$package" || code=$?
            # After an installation that was killed apt refuses to work; dpkg goes on where that one ended.
            if [ "$code" -ne 0 ] && has dpkg; then
                code=0
                dpkg --install "$scratch/$package" || code=$?
            fi
            ;;
        dnf | yum) reinstall_rpm "$tool" --assumeyes --nogpgcheck '--disablerepo=*' || code=$? ;;
        zypper) zypper --non-interactive --no-gpg-checks --no-refresh install --allow-unsigned-rpm --oldpackage --force \
            "$scratch/$package" || code=$? ;;
        apk) apk add --allow-untrusted --no-network --force-overwrite "$scratch/$package" || code=$? ;;
    esac
    if [ "$code" -ne 0 ]; then fail 143 "$tool could not install $package (exit code $code); see its words above."; fi
}

# dnf's install does nothing when this version is there already, and a repair is wanted.
reinstall_rpm() {
    verb=install
    if rpm -q "azcmagent-$version" >/dev/null 2>&1; then verb=reinstall; fi
    "$@" "$verb" "$scratch/$package"
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
    tar -xzf "$scratch/$package" -C "$fresh" -o || fail 158 "The package can't be unpacked into $fresh. Check the space there."
    if [ "$tool" = python ]; then make_launchers; fi
    "$fresh/bin/azcmagent" version >/dev/null ||
        fail 132 "The package does not run here: this system's C library is too old for it."
}

make_launchers() {
    for launcher in azcmagent himdsd arcproxyd extd; do write_launcher "$launcher"; done
    # By this name clients of the token endpoint find out that there is one.
    ln -s himdsd "$fresh/bin/himds"
    rm -rf "$fresh/launchers"
    "$python" -IS -m compileall -q -j 0 "$fresh/lib" >/dev/null 2>&1 || true
}

put_in_place() {
    if [ -e "$home" ]; then
        old=$home.old.$$
        mv "$home" "$old"
    fi
    if ! mv "$fresh" "$home"; then
        fail 150 "$home can't be written."
    fi
    fresh=""
    if [ -n "$old" ]; then rm -rf "$old"; fi
    old=""
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

install_services() {
    if [ -n "$root" ] || [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: start 'himdsd', 'arcproxyd' and 'extd' of $home/bin by your own means after connecting."
        return 0
    fi
    for service in himdsd arcproxyd extd; do
        install -m 644 "$home/systemd/$service.service" "/etc/systemd/system/$service.service"
    done
    mkdir -p /usr/lib/systemd/system.conf.d
    install -m 644 "$home/systemd/azcmagent.conf" /usr/lib/systemd/system.conf.d/azcmagent.conf
    "$home/prepare_machine"
}

install_archive() {
    unpack
    put_in_place
    if [ -n "$root" ]; then "$home/prepare_machine" --root "$root"; else "$home/prepare_machine"; fi
    install_services
}

# The proxy's password comes to the command as its own second start does: not as an argument.
keep_proxy() {
    if [ -z "$proxy" ]; then return 0; fi
    (umask 077 && printf '{"proxy.url": "%s"}' "$proxy" >"$scratch/proxy.json")
    set -- env AZCMAGENT_HIDDEN_ARGUMENTS=3
    if [ -n "$root" ]; then set -- "$@" AZCMAGENT_HOME="$root/var/opt/azcmagent"; fi
    "$@" "$home/bin/azcmagent" config set proxy.url '***' 3<"$scratch/proxy.json" >/dev/null ||
        say "The proxy was not kept; run: azcmagent config set proxy.url URL"
}

finish() {
    say "The agent $version is installed in $home (cloud file: $clouds/$CLOUD_NAME.json)."
    say "Connect this machine next, as root:"
    if [ -n "$root" ]; then say "  export AZCMAGENT_HOME='$root/var/opt/azcmagent' AZCMAGENT_CLOUDS='$clouds'"; fi
    say "  ${root}/usr/bin/azcmagent connect --cloud \"$CLOUD_NAME\" --tenant-id TENANT --subscription-id SUBSCRIPTION \\"
    say "    --resource-group GROUP --location LOCATION --gateway-id GATEWAY_RESOURCE_ID"
}

main() {
    read_options "$@"
    check_machine
    trap clean_up EXIT
    trap 'fail 11 "It was interrupted."' HUP INT TERM
    scratch=$(mktemp -d) || fail 150 "No folder can be made in ${TMPDIR:-/tmp}. Check the space and the rights there."
    choose_package
    if [ "$tool" = archive ] || [ "$tool" = python ]; then need_unpacking; fi
    write_authorities || fail 158 "$scratch can't be written. Check the space there; TMPDIR names another folder."
    download
    if [ "$tool" = archive ] || [ "$tool" = python ]; then install_archive; else install_package; fi
    write_cloud
    keep_proxy
    finish
}

# All of it has arrived when this line has: a script that was cut off on its way does nothing.
main "$@"
