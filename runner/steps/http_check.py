"""http-check: ask over HTTP until the answer is as expected."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.check_http import CheckHttp, TellHttpCheck
from runner.pipeline import Step

_CHECK = CheckHttp()

STEP = Step(
    kind=StepKind(
        name="http-check",
        title="Check over HTTP",
        description="Asks a URL until it answers as expected, or fails with the reason of every attempt.",
        needs_package=False,
        properties=(
            Property("url", "text", help="What is asked, with `http://` or `https://`.", required=True),
            Property(
                "method",
                "choice",
                help="How it is asked.",
                default="GET",
                choices=("GET", "HEAD", "POST", "PUT", "OPTIONS"),
            ),
            Property("headers", "list", help="Sent along, each as `Name: value`.", default=[]),
            Property("body", "script", help="Sent along.", default=""),
            Property("user", "text", help="Who asks, by HTTP's basic authentication."),
            Property("password", "text", help="The password of `user`; `#{…}` names a secret."),
            Property("token", "text", help="Sent as `Authorization: Bearer …`; `#{…}` names a secret."),
            Property("expect_status", "list", help="Good codes, and spans of them.", default=["200-299"]),
            Property("expect_text", "text", help="Must stand in the body."),
            Property("expect_pattern", "text", help="A regular expression that must fit somewhere in the body."),
            Property(
                "expect_json",
                "list",
                help="What a JSON body must hold, each as `PATH = VALUE`: `checks:0:state = up`.",
                default=[],
            ),
            Property(
                "within_s", "integer", help="Seconds for all attempts together.", default=60, least=1, most=86_400
            ),
            Property(
                "attempts", "integer", help="At most so many; 0: as many as fit.", default=0, least=0, most=10_000
            ),
            Property("timeout_s", "integer", help="Seconds for one attempt.", default=10, least=1, most=3_600),
            Property("pause_s", "integer", help="Seconds between attempts.", default=2, least=1, most=3_600),
            Property("follow_redirects", "boolean", help="Ask where the answer says.", default=False),
            Property("ca_file", "text", help="A PEM file of certificates to trust instead of the machine's."),
            Property("insecure", "boolean", help="Do not look at the certificate; the log warns.", default=False),
            Property("socket", "text", help="Ask through this Unix socket; the URL's host is but a name then."),
        ),
    ),
    conventions=(_CHECK,),
    # Gone back to an earlier release, it must be well there too.
    switch=(_CHECK,),
    preview=(TellHttpCheck(),),
)
