# The cmdlets that every PowerShell script of a job finds: they ask the supervisor over the descriptor in MANYARM_FD.
# Written for PowerShell 7 on.

$script:Utf8 = [System.Text.UTF8Encoding]::new($false, $true)
$script:TurnPatienceMs = 10000
$script:Waiting = $null

<#
.SYNOPSIS
The value of a variable, expanded; an error where there is none.
#>
function Get-ManyarmVariable {
    [CmdletBinding()]
    param([Parameter(Mandatory, Position = 0)] [string] $Name)
    Request-Manyarm $PSCmdlet 'get_variable' ('"name":' + (ConvertTo-JsonText $Name))
}

<#
.SYNOPSIS
An output variable for later steps: #{Manyarm.Step[this step].Output.NAME}.
#>
function Set-ManyarmVariable {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory, Position = 0)] [string] $Name,
        [Parameter(Mandatory, Position = 1)] [AllowEmptyString()] [string] $Value,
        [switch] $Secret
    )
    $isSecret = if ($Secret) { 'true' } else { 'false' }
    $fields = '"name":{0},"value":{1},"secret":{2}' -f (ConvertTo-JsonText $Name), (ConvertTo-JsonText $Value), $isSecret
    $null = Request-Manyarm $PSCmdlet 'set_variable' $fields
}

<#
.SYNOPSIS
A file to be collected when this script has ended.
#>
function New-ManyarmArtifact {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory, Position = 0)] [string] $Path,
        [Parameter(Position = 1)] [string] $Name = ''
    )
    $full = $PSCmdlet.GetUnresolvedProviderPathFromPSPath($Path)
    $null = Request-Manyarm $PSCmdlet 'new_artifact' ('"path":{0},"name":{1}' -f (ConvertTo-JsonText $full), (ConvertTo-JsonText $Name))
}

function Write-ManyarmProgress {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory, Position = 0)] [ValidateRange(0, 100)] [int] $Percent,
        [Parameter(Position = 1)] [string] $Message = ''
    )
    $null = Request-Manyarm $PSCmdlet 'progress' ('"percent":{0},"message":{1}' -f $Percent, (ConvertTo-JsonText $Message))
}

function Write-ManyarmWarning {
    [CmdletBinding()]
    param([Parameter(Mandatory, Position = 0)] [AllowEmptyString()] [string] $Message)
    $null = Request-Manyarm $PSCmdlet 'warn' ('"message":' + (ConvertTo-JsonText $Message))
}

<#
.SYNOPSIS
End the script; the step fails with this message.
#>
function Stop-ManyarmScript {
    [CmdletBinding()]
    param([Parameter(Mandatory, Position = 0)] [AllowEmptyString()] [string] $Message)
    $null = Request-Manyarm $PSCmdlet 'fail' ('"message":' + (ConvertTo-JsonText $Message))
    exit 1
}

# The answer's text; a refusal is an error in the line of the script that asked. Not JSON, which PowerShell would read
# dates out of.
function Request-Manyarm($Cmdlet, [string] $Verb, [string] $Fields) {
    if (-not $env:MANYARM_FD) {
        throw 'this script is not run by Manyarm: MANYARM_FD is not set'
    }
    $body = [System.Text.Encoding]::ASCII.GetBytes('{"do":"' + $Verb + '","reply":"text",' + $Fields + '}')
    $size = [System.BitConverter]::GetBytes([System.Net.IPAddress]::HostToNetworkOrder([int] $body.Length))
    $take, $give = $env:MANYARM_LOCK.Split(' ')
    Wait-Turn ([int] $take)
    try {
        $desk = Open-Descriptor ([int] $env:MANYARM_FD) 'ReadWrite'
        $desk.Write($size, 0, $size.Length)
        $desk.Write($body, 0, $body.Length)
        $desk.Flush()
        $state, $length = (Read-Line $desk).Split(' ')
        $text = Read-Text $desk ([int] $length)
    }
    finally {
        $giving = Open-Descriptor ([int] $give) 'Write'
        $giving.WriteByte(46)
        $giving.Flush()
    }
    if ($state -ne 'ok') {
        $refused = [System.InvalidOperationException]::new("${Verb}: $text")
        $Cmdlet.ThrowTerminatingError(
            [System.Management.Automation.ErrorRecord]::new($refused, 'ManyarmRefused', 'InvalidOperation', $null)
        )
    }
    $text
}

# One question at a time, whichever process asks: a byte in the pipe is the right to ask. Whoever had it may have been
# killed; a read that was given up goes on, and what it reads later is this process's turn.
function Wait-Turn([int] $Take) {
    if ($null -eq $script:Waiting) {
        $pipe = Open-Descriptor $Take 'Read'
        $script:Waiting = $pipe.ReadAsync([byte[]]::new(1), 0, 1)
    }
    if ($script:Waiting.Wait($script:TurnPatienceMs)) {
        $script:Waiting = $null
    }
}

# Without a buffer: what one reads too much would be missing to the next. The descriptor stays open.
function Open-Descriptor([int] $Descriptor, [System.IO.FileAccess] $Access) {
    $handle = [Microsoft.Win32.SafeHandles.SafeFileHandle]::new([System.IntPtr] $Descriptor, $false)
    [System.IO.FileStream]::new($handle, $Access, 1)
}

function Read-Line([System.IO.Stream] $Stream) {
    $line = [System.Text.StringBuilder]::new()
    while (($byte = $Stream.ReadByte()) -ne 10) {
        if ($byte -lt 0) { throw 'the supervisor is gone' }
        $null = $line.Append([char] $byte)
    }
    $line.ToString()
}

function Read-Text([System.IO.Stream] $Stream, [int] $Size) {
    $data = [byte[]]::new($Size)
    $filled = 0
    while ($filled -lt $Size) {
        $count = $Stream.Read($data, $filled, $Size - $filled)
        if ($count -le 0) { throw 'the supervisor is gone' }
        $filled += $count
    }
    $script:Utf8.GetString($data)
}

# ASCII alone, so that bytes and characters are as many. Half of a surrogate pair is refused here: the encoder would
# make another character of it.
function ConvertTo-JsonText([string] $Text) {
    $null = $script:Utf8.GetByteCount($Text)
    $encoded = [System.Text.Encodings.Web.JavaScriptEncoder]::Default.Encode($Text)
    '"' + $encoded + '"'
}

Export-ModuleMember -Function @(
    'Get-ManyarmVariable', 'Set-ManyarmVariable', 'New-ManyarmArtifact'
    'Write-ManyarmProgress', 'Write-ManyarmWarning', 'Stop-ManyarmScript'
)
