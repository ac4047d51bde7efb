"""PowerShell 7 scripts (`pwsh`), without profiles; they find cmdlets such as Get-ManyarmVariable."""

from __future__ import annotations

from typing import Tuple

from runner.language import Language, Start, on_path

# It is to ask no other machine whether there is a newer one, and to tell none that it was used.
_ENVIRONMENT = {"POWERSHELL_UPDATECHECK": "Off", "POWERSHELL_TELEMETRY_OPTOUT": "1", "DOTNET_CLI_TELEMETRY_OPTOUT": "1"}


def _command(start: Start) -> Tuple[str, ...]:
    strictness = "strict" if start.strict else "lenient"
    options = ("-NoLogo", "-NoProfile", "-NonInteractive", *start.options)
    return (start.program, *options, "-File", f"{start.tools}/start.ps1", strictness)


LANGUAGE = Language(
    name="powershell",
    extensions=("ps1",),
    preference=4,
    programs=("pwsh", "pwsh-preview"),
    find=on_path("pwsh", "pwsh-preview"),
    command=_command,
    bootstrap=("start.ps1", "Manyarm.psm1"),
    environment=lambda _tools: _ENVIRONMENT,
)
