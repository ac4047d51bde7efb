"""cloud-script: one script with the account of a cloud target at hand."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.offer_account import OfferAccount
from runner.conventions.run_typed_script import RunTypedScript
from runner.languages import script_properties
from runner.pipeline import Step

_OFFER_ACCOUNT = OfferAccount()

STEP = Step(
    kind=StepKind(
        name="cloud-script",
        title="Run a script on a cloud",
        description="Runs a script on the hub with a cloud account as its tools expect it: aws, az, gcloud, or others.",
        needs_package=False,
        properties=(
            *script_properties(),
            Property("script", "script", help="What to run; the cloud's tool is signed in.", required=True),
            Property("account", "text", help="The account to use; without it, that of the cloud target."),
            Property(
                "tool", "text", help="The program that must be there, such as terraform; without it, the cloud's own."
            ),
        ),
    ),
    conventions=(_OFFER_ACCOUNT, RunTypedScript()),
    at_the_end=(_OFFER_ACCOUNT,),
)
