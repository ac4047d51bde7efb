"""transfer-package: the package's file, put into a directory as it was uploaded."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.transfer_package import TellTransfer, TransferPackage
from runner.pipeline import Step

STEP = Step(
    kind=StepKind(
        name="transfer-package",
        title="Transfer a package",
        description="Puts the package's file into a directory, whole or not at all; nothing is extracted.",
        needs_package=True,
        properties=(
            Property("to", "text", help="Absolute directory; it is made where it is missing.", required=True),
            Property("name", "text", help="The file's name; without it, `ID.VERSION.EXT` as it was uploaded."),
            Property("mode", "text", help="Its permissions, in octal.", default="0644"),
            Property(
                "existing",
                "choice",
                help="What to do with a file of that name that has other bytes.",
                default="replace",
                choices=("replace", "fail"),
            ),
        ),
    ),
    conventions=(TransferPackage(),),
    preview=(TellTransfer(),),
)
