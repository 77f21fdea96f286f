# The agent of the cloud @@CLOUD_NAME@@ for Windows.
#
# This control plane does not ship the Windows agent yet. Failing here, and saying so, is all this script does;
# it changes nothing on the machine.
param(
    [string]$Proxy,
    [string]$Output
)

$message = "The Windows agent is not part of this control plane's packages yet (version @@VERSION@@). " +
    "Nothing was installed. Use the Linux installer, or a generic HTTPS proxy client with a machine certificate."
if ($Output) {
    Set-Content -LiteralPath $Output -Value $message
}
[Console]::Error.WriteLine($message)
exit 1
