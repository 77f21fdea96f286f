# Connects this Windows machine to the cloud @@CLOUD_NAME@@: downloads the agent, installs it and connects. Made by
# the cloud's control plane. A machine that is connected already stays as it is. There is no secret in it.
$ErrorActionPreference = 'Stop'
$global:scriptPath = $MyInvocation.MyCommand.Definition

$values = @{
    subscriptionId = @@SUBSCRIPTION@@
    resourceGroup = @@GROUP@@
    tenantId = @@TENANT@@
    location = @@LOCATION@@
    authType = @@AUTH_TYPE@@
    cloud = @@CLOUD@@
    gatewayId = @@GATEWAY_ID@@
    correlationId = [guid]::NewGuid().ToString()
}
$resourceName = @@RESOURCE_NAME@@
$servicePrincipalId = @@PRINCIPAL@@
$secretFile = @@SECRET_FILE@@
$tags = @@TAGS@@
$proxy = @@PROXY@@
$installer = @@INSTALLER_URL@@
$log = @@LOG_URL@@
$authorities = @@CA@@
# A proxy with a password comes by the environment, since this file is passed around.
if ($env:ARCGATE_PROXY) { $proxy = $env:ARCGATE_PROXY }

$agent = Join-Path $env:ProgramW6432 'AzureConnectedMachineAgent\azcmagent.exe'
$scratch = Join-Path $env:TEMP ([guid]::NewGuid().ToString())

function Restart-AsAdmin {
    $command = 'powershell'
    if ($PSVersionTable.PSVersion.Major -ge 6) { $command = 'pwsh' }
    Write-Host 'This script needs administrator rights. Starting it again with them...'
    Start-Process $command -Verb RunAs -ArgumentList @('-NoExit', '-File', ('"' + $global:scriptPath + '"'))
    exit 0
}

# Windows' own curl takes authorities from a file: neither the system's list of them nor its checks are changed.
function Invoke-Transfer([string[]]$Options, [string]$Url) {
    $arguments = @('--fail', '--silent', '--show-error', '--proto', '=https', '--connect-timeout', '30', '--max-time', '120')
    if ($authorities) {
        $file = Join-Path $scratch 'ca.pem'
        Set-Content -LiteralPath $file -Value $authorities -Encoding Ascii
        $arguments += @('--cacert', $file, '--ssl-no-revoke')
    }
    # By the environment, since the proxy's password must not stand in the list of processes.
    if ($proxy) { $env:HTTPS_PROXY = $proxy }
    & curl.exe @arguments @Options $Url
    if ($LASTEXITCODE -ne 0) { throw "curl ended with $LASTEXITCODE for $Url" }
}

function Send-Report([string]$Kind, [string]$Message) {
    $body = $values.Clone()
    $body.operation = 'onboarding'
    $body.messageType = $Kind
    $body.message = $Message
    $file = Join-Path $scratch 'report.json'
    try {
        [IO.File]::WriteAllText($file, ($body | ConvertTo-Json -Compress))
        Invoke-Transfer @('--output', 'NUL', '--request', 'PUT', '--header', 'Content-Type: application/json', '--data-binary', "@$file") $log
    }
    catch { Write-Verbose "The report was not sent: $_" }
}

function Test-Connected {
    if (-not (Test-Path -LiteralPath $agent)) { return $false }
    $known = & $agent show -j | Out-String | ConvertFrom-Json
    $group = '/subscriptions/' + $values.subscriptionId + '/resourceGroups/' + $values.resourceGroup + '/'
    return [bool]($known.resourceId -and $known.resourceId.StartsWith($group, [StringComparison]::OrdinalIgnoreCase))
}

# The secret is neither an argument nor in this file: it comes by the environment, a file, or is asked for.
function Read-Secret {
    if ($env:AZCMAGENT_SERVICE_PRINCIPAL_SECRET) { return $env:AZCMAGENT_SERVICE_PRINCIPAL_SECRET }
    if ($secretFile -and (Test-Path -LiteralPath $secretFile)) { return (Get-Content -LiteralPath $secretFile -Raw).Trim() }
    $asked = Read-Host "Secret of the service principal $servicePrincipalId" -AsSecureString
    return [Net.NetworkCredential]::new('', $asked).Password
}

$step = 'DownloadScriptFailed'
try {
    $identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
    if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        if ([Environment]::UserInteractive) { Restart-AsAdmin }
        throw 'Run this script as administrator.'
    }
    if (Test-Connected) {
        Write-Host 'This machine is connected already; nothing was changed.'
        exit 0
    }
    New-Item -ItemType Directory -Path $scratch | Out-Null
    $script = Join-Path $scratch 'install_windows_azcmagent.ps1'
    Invoke-Transfer @('--output', $script) $installer

    $step = 'InstallFailed'
    $failure = Join-Path $scratch 'failure.txt'
    & $script -Output $failure
    if ($LASTEXITCODE -ne 0) { throw "the installer ended with ${LASTEXITCODE}: $(Get-Content -LiteralPath $failure -Raw)" }

    $step = 'ConnectFailed'
    # Values go by a file: Windows PowerShell does not quote arguments reliably.
    $flags = @{
        'subscription-id' = $values.subscriptionId
        'resource-group' = $values.resourceGroup
        'tenant-id' = $values.tenantId
        'location' = $values.location
        'cloud' = $values.cloud
        'correlation-id' = $values.correlationId
    }
    if ($values.gatewayId) { $flags['gateway-id'] = $values.gatewayId }
    if ($resourceName) { $flags['resource-name'] = $resourceName }
    if ($tags) { $flags['tags'] = $tags }
    if ($servicePrincipalId) {
        $flags['service-principal-id'] = $servicePrincipalId
        $env:AZCMAGENT_SERVICE_PRINCIPAL_SECRET = Read-Secret
    }
    $file = Join-Path $scratch 'connect.json'
    [IO.File]::WriteAllText($file, ($flags | ConvertTo-Json))
    & $agent connect --config $file
    if ($LASTEXITCODE -ne 0) { throw "azcmagent connect ended with $LASTEXITCODE" }
    if ($values.gatewayId) { & $agent config set connection.type gateway }
}
catch {
    if (Test-Path -LiteralPath $scratch) { Send-Report $step "$_" }
    [Console]::Error.WriteLine("Onboarding failed: $_")
    exit 1
}
finally {
    Remove-Item -LiteralPath $scratch -Recurse -Force -ErrorAction SilentlyContinue
    Remove-Item Env:AZCMAGENT_SERVICE_PRINCIPAL_SECRET -ErrorAction SilentlyContinue
}
