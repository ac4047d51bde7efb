# Starts one PowerShell script of a job: with the cmdlets of Manyarm.psm1, and ending at the first error if it is strict.
param(
    [Parameter(Mandatory)] [string] $Strictness,
    [Parameter(Mandatory)] [string] $ManyarmScript
)

# No colours in a log, and no bar that would redraw itself for ever.
if (Get-Variable -Name PSStyle -ErrorAction Ignore) { $PSStyle.OutputRendering = 'PlainText' }
$global:ProgressPreference = 'SilentlyContinue'

Import-Module -Name (Join-Path $PSScriptRoot 'Manyarm.psm1') -Global -DisableNameChecking

if ($Strictness -eq 'strict') {
    $global:ErrorActionPreference = 'Stop'
    # From PowerShell 7.4 on a program that ends with another code than 0 is such an error, too.
    $global:PSNativeCommandUseErrorActionPreference = $true
}

# Only a file of this ending is read as a script; one that is found by its first line may have another.
if ($ManyarmScript -notlike '*.ps1') {
    $named = Join-Path $PSScriptRoot ((Split-Path -Leaf $ManyarmScript) + '.ps1')
    Copy-Item -LiteralPath $ManyarmScript -Destination $named
    $ManyarmScript = $named
}

$global:LASTEXITCODE = 0
& $ManyarmScript

# The script did not `exit`, or its `exit` only brought us here: the code of what ended last is ours. The system keeps
# eight bits of a code, and 256 must not become a success.
if ($LASTEXITCODE -ne 0 -and ($LASTEXITCODE -band 255) -eq 0) { exit 255 }
exit $LASTEXITCODE
