"""deploy-package: this list is what it does, in this order."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.copy_to_directory import CopyToDirectory
from runner.conventions.extract_package import ExtractPackage
from runner.conventions.find_earlier_release import FindEarlierRelease
from runner.conventions.keep_releases import KeepReleases
from runner.conventions.open_application_folder import OpenApplicationFolder
from runner.conventions.point_current import PointCurrent
from runner.conventions.preview_files import PreviewFiles
from runner.conventions.record_deployment import RecordDeployment
from runner.conventions.replace_structured_values import ReplaceStructuredValues
from runner.conventions.run_stage_scripts import RunStageScripts
from runner.conventions.skip_if_installed import SkipIfInstalled
from runner.conventions.substitute_in_files import SubstituteInFiles
from runner.conventions.transform_xml import TransformXml
from runner.languages import script_properties
from runner.pipeline import Step

_OPEN_APPLICATION_FOLDER = OpenApplicationFolder()
_COPY_TO_DIRECTORY = CopyToDirectory()
_POINT_CURRENT = PointCurrent()
_POST_DEPLOY = RunStageScripts("PostDeploy", "post_deploy")

STEP = Step(
    kind=StepKind(
        name="deploy-package",
        title="Deploy a package",
        description="Extracts a package to a fresh directory, fills in variables, runs its scripts, and points at it.",
        needs_package=True,
        properties=(
            Property(
                "install_to",
                "text",
                help="Absolute directory; releases lie in its `releases`, `current` points to the newest. "
                "Without it, a directory below the spoke's home.",
            ),
            Property(
                "copy_to",
                "text",
                help="Absolute directory with a fixed name; the release is copied to it, and scripts run in it.",
            ),
            Property("purge", "boolean", help="Remove what else is in `copy_to`.", default=False),
            Property(
                "purge_except",
                "list",
                help="Globs, relative to `copy_to`, of what the purge leaves there: `uploads/**`.",
                default=[],
            ),
            Property(
                "skip_if_installed",
                "boolean",
                help="Do nothing where the same package with the same values is installed already, unchanged.",
                default=False,
            ),
            Property(
                "keep",
                "integer",
                help="Earlier successful releases that stay beside the current one, to go back to; -1 keeps all.",
                default=5,
                least=-1,
                most=10_000,
            ),
            Property("substitute_in", "list", help="Globs of files in which `#{…}` is replaced.", default=[]),
            Property("allow_unknown", "boolean", help="Leave an unknown `#{…}` as it stands.", default=False),
            Property(
                "transforms",
                "list",
                help="XML transforms (XDT), each as `FROM => TO`: `Web.Release.config => Web.config`.",
                default=[],
            ),
            Property(
                "structured",
                "list",
                help="Globs of configuration files (JSON, YAML, XML, TOML, …) whose values are replaced by path.",
                default=[],
            ),
            *script_properties(),
            Property("pre_deploy", "script", help="Runs before variables are filled in.", default=""),
            Property("deploy", "script", help="Runs after that, before `current` moves.", default=""),
            Property("post_deploy", "script", help="Runs once `current` points to the new release.", default=""),
            Property("deploy_failed", "script", help="Runs when anything failed, after the rollback.", default=""),
        ),
    ),
    conventions=(
        _OPEN_APPLICATION_FOLDER,
        SkipIfInstalled(),
        ExtractPackage(),
        RunStageScripts("PreDeploy", "pre_deploy", typed_first=True),
        SubstituteInFiles(),
        TransformXml(),
        ReplaceStructuredValues(),
        _COPY_TO_DIRECTORY,
        RunStageScripts("Deploy", "deploy"),
        _POINT_CURRENT,
        _POST_DEPLOY,
    ),
    on_failure=(RunStageScripts("DeployFailed", "deploy_failed"),),
    at_the_end=(_COPY_TO_DIRECTORY, RecordDeployment(), KeepReleases()),
    switch=(_OPEN_APPLICATION_FOLDER, FindEarlierRelease(), _COPY_TO_DIRECTORY, _POINT_CURRENT, _POST_DEPLOY),
    preview=(PreviewFiles(SubstituteInFiles(), TransformXml(), ReplaceStructuredValues()),),
)
