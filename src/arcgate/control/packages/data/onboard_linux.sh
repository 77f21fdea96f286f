#!/bin/sh
# Connects this Linux machine to the cloud @@CLOUD_NAME@@: downloads the agent, installs it and connects. Made by the
# cloud's control plane. Run it as root; a machine that is connected already stays as it is. There is no secret in it.
set -eu
umask 077

export subscriptionId=@@SUBSCRIPTION@@
export resourceGroup=@@GROUP@@
export tenantId=@@TENANT@@
export location=@@LOCATION@@
export authType=@@AUTH_TYPE@@
export cloud=@@CLOUD@@
gatewayID=@@GATEWAY_ID@@
resourceName=@@RESOURCE_NAME@@
servicePrincipalId=@@PRINCIPAL@@
secretFile=@@SECRET_FILE@@
# shellcheck disable=SC2016 # what looks like an expansion is the tag's own text
tags=@@TAGS@@
# A proxy with a password comes by the environment, since this file is passed around.
proxy=@@PROXY@@
if [ -n "${ARCGATE_PROXY-}" ]; then proxy=$ARCGATE_PROXY; fi
installer=@@INSTALLER_URL@@
log=@@LOG_URL@@

scratch=""

say() {
    printf '%s\n' "$*"
}

fail() {
    printf 'Onboarding failed: %s\n' "$*" >&2
    exit 1
}

clean_up() {
    if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# The content of a JSON string: control characters become blanks, and what isn't UTF-8 goes.
json() {
    cut=$(printf '%s' "$1" | LC_ALL=C tr '\001-\037\177' ' ' | LC_ALL=C cut -b 1-8000)
    if has iconv; then cut=$(printf '%s' "$cut" | iconv -c -f UTF-8 -t UTF-8 2>/dev/null || true); fi
    printf '%s' "$cut" | LC_ALL=C sed 's/\\/\\\\/g; s/"/\\"/g'
}

field() {
    printf '"%s":"%s"' "$1" "$(json "$2")"
}

# Tells the cloud what went wrong, and never becomes a failure itself.
report() {
    {
        printf '{'
        field subscriptionId "$subscriptionId" && printf ','
        field resourceGroup "$resourceGroup" && printf ','
        field tenantId "$tenantId" && printf ','
        field location "$location" && printf ','
        field correlationId "$correlationId" && printf ','
        field authType "$authType" && printf ','
        field gatewayId "$gatewayID" && printf ','
        field operation onboarding && printf ','
        field messageType "$1" && printf ','
        field message "$2" && printf '}'
    } >"$scratch/report.json" || return 0
    transfer send "$log" "$scratch/report.json" >/dev/null 2>&1 || true
}

# transfer get|send URL FILE. The proxy goes by the environment: its password must not stand in the list of processes.
transfer() {
    how=$1
    url=$2
    file=$3
    if has curl; then
        set -- curl --fail --silent --show-error --proto '=https' --connect-timeout 30 --max-time 120
        if [ -s "$scratch/ca.pem" ]; then set -- "$@" --cacert "$scratch/ca.pem"; fi
        if [ "$how" = get ]; then set -- "$@" --retry 2 --output "$file"; else
            set -- "$@" --output /dev/null --request PUT --header 'Content-Type: application/json' --data-binary "@$file"
        fi
    elif has wget; then
        set -- wget --no-verbose --timeout=30 --tries=2
        if [ -s "$scratch/ca.pem" ]; then set -- "$@" --ca-certificate="$scratch/ca.pem"; fi
        if [ "$how" = get ]; then set -- "$@" --output-document="$file"; else
            set -- "$@" --output-document=/dev/null --method=PUT --body-file="$file"
        fi
    else
        say "Neither curl nor wget is installed. Install one of them." >&2
        return 1
    fi
    if [ -n "$proxy" ]; then set -- env https_proxy="$proxy" HTTPS_PROXY="$proxy" no_proxy="" NO_PROXY="" "$@"; fi
    "$@" "$url"
}

write_authorities() {
    cat >"$scratch/ca.pem" <<'END_OF_AUTHORITIES'
@@CA_PEM@@
END_OF_AUTHORITIES
    code=$?
    if ! grep -q 'BEGIN CERTIFICATE' "$scratch/ca.pem"; then rm -f "$scratch/ca.pem"; fi
    return "$code"
}

is_connected() {
    has azcmagent || return 1
    known=$(azcmagent show -j 2>/dev/null) || return 1
    printf '%s' "$known" | grep -Fqi "\"resourceId\": \"/subscriptions/$subscriptionId/resourceGroups/$resourceGroup/"
}

# A run that was ended between connecting and starting the services left them stopped.
start_services() {
    case $known in
        *'"himds": "stopped"'* | *'"arcproxy": "stopped"'*) ;;
        *) say "This machine is connected already; nothing was changed."; return 0 ;;
    esac
    say "This machine is connected already, but not all of its services run."
    azcmagent connect --resource-group "$resourceGroup" --tenant-id "$tenantId" --location "$location" \
        --subscription-id "$subscriptionId" --cloud "$cloud" || fail "the services could not be started (code $?)."
}

install_agent() {
    say "Downloading $installer"
    said=$(transfer get "$installer" "$scratch/install_linux_azcmagent.sh" 2>&1) || {
        report DownloadScriptFailed "$said"
        fail "the installer could not be downloaded from $installer: $said"
    }
    set -- sh "$scratch/install_linux_azcmagent.sh" --output "$scratch/failure.txt"
    if [ -n "$proxy" ]; then export ARCGATE_PROXY="$proxy"; fi
    "$@" || {
        code=$?
        report InstallFailed "code $code: $(cat "$scratch/failure.txt" 2>/dev/null || true)"
        fail "the agent could not be installed (code $code)."
    }
}

# The secret is neither an argument nor in this file: it comes by the environment, a file, or is asked for.
find_secret() {
    if [ -z "$servicePrincipalId" ] || [ -n "${AZCMAGENT_SERVICE_PRINCIPAL_SECRET-}" ]; then return 0; fi
    if [ -n "$secretFile" ] && [ -r "$secretFile" ]; then
        AZCMAGENT_SERVICE_PRINCIPAL_SECRET=$(cat "$secretFile")
    elif [ -t 0 ]; then
        printf 'Secret of the service principal %s: ' "$servicePrincipalId" >&2
        trap 'stty echo; clean_up' EXIT
        stty -echo
        read -r AZCMAGENT_SERVICE_PRINCIPAL_SECRET
        stty echo
        trap clean_up EXIT
        printf '\n' >&2
    else
        fail "there is no secret for $servicePrincipalId. Set AZCMAGENT_SERVICE_PRINCIPAL_SECRET${secretFile:+, or write $secretFile}."
    fi
    export AZCMAGENT_SERVICE_PRINCIPAL_SECRET
}

connect() {
    set -- --resource-group "$resourceGroup" --tenant-id "$tenantId" --location "$location" \
        --subscription-id "$subscriptionId" --cloud "$cloud" --correlation-id "$correlationId"
    if [ -n "$gatewayID" ]; then set -- "$@" --gateway-id "$gatewayID"; fi
    if [ -n "$resourceName" ]; then set -- "$@" --resource-name "$resourceName"; fi
    if [ -n "$tags" ]; then set -- "$@" --tags "$tags"; fi
    if [ -n "$servicePrincipalId" ]; then set -- "$@" --service-principal-id "$servicePrincipalId"; fi
    azcmagent connect "$@" || {
        code=$?
        report ConnectFailed "azcmagent connect ended with $code"
        fail "the machine could not be connected (code $code); see above."
    }
    if [ -n "$gatewayID" ]; then azcmagent config set connection.type gateway; fi
}

main() {
    if [ "$(id -u)" -ne 0 ]; then fail "run it as root, for example by sudo."; fi
    # The installer puts the command there, and sudo's PATH may lack it.
    PATH=$PATH:/usr/bin:/opt/azcmagent/bin
    if is_connected; then
        start_services
        exit 0
    fi
    correlationId=$(cat /proc/sys/kernel/random/uuid)
    export correlationId
    scratch=$(mktemp -d) || fail "no folder can be made in ${TMPDIR:-/tmp}. Check the space and the rights there."
    trap clean_up EXIT
    trap 'exit 11' HUP INT TERM
    write_authorities || fail "$scratch can't be written. Check the space there."
    find_secret
    install_agent
    connect
}

# All of it has arrived when this line has: a script that was cut off on its way does nothing.
main "$@"
