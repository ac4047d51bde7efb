"""sql-migrations: each SQL file once, in order, journalled in the database itself."""

from __future__ import annotations

from runner.contract.step_kind import Property, StepKind
from runner.conventions.run_migrations import LeaveMigrations, RunMigrations, TellMigrations
from runner.pipeline import Step

_RUN_MIGRATIONS = RunMigrations()

STEP = Step(
    kind=StepKind(
        name="sql-migrations",
        title="Run SQL migrations",
        description="Runs the SQL files that a database has not seen yet: each once, in order, and notes them in it.",
        needs_package=False,
        may_have_package=True,
        properties=(
            Property(
                "engine",
                "choice",
                help="The database: by Python, by `psql`, or by `mariadb` or `mysql`, on the target.",
                required=True,
                choices=("sqlite", "postgresql", "mysql"),
            ),
            Property("database", "text", help="Its name; of SQLite, the absolute path of its file.", required=True),
            Property("host", "text", help="Where it is; without it, on the target. A path is that of a Unix socket."),
            Property("port", "text", help="Its port; without it, the engine's own."),
            Property("user", "text", help="Who asks."),
            Property("password", "text", help="The password of `user`; `#{…}` names a secret."),
            Property(
                "tls",
                "choice",
                help="The client's own default, encryption, or a certificate that is looked at.",
                default="default",
                choices=("default", "require", "verify"),
            ),
            Property("ca_file", "text", help="A PEM file of certificates to trust."),
            Property(
                "folder",
                "text",
                help="Where the files lie: a directory of the package or, without a package, an absolute path. The "
                "journal knows files by their paths below it.",
            ),
            Property("files", "list", help="Globs of the files.", default=["**/*.sql"]),
            Property(
                "order",
                "choice",
                help="`natural` runs 2 before 10; `lexical` goes letter by letter.",
                default="natural",
                choices=("natural", "lexical"),
            ),
            Property("substitute", "boolean", help="Replace `#{…}` in the files before they run.", default=False),
            Property(
                "changed",
                "choice",
                help="What a file means that differs from what ran; it never runs again.",
                default="fail",
                choices=("fail", "warn"),
            ),
            Property(
                "out_of_order",
                "choice",
                help="What a new file means whose place is before one that ran.",
                default="fail",
                choices=("fail", "run"),
            ),
            Property("journal", "text", help="The table of what ran.", default="manyarm_migrations"),
            Property(
                "wait_s",
                "integer",
                help="Seconds that another deployment may hold the lock.",
                default=300,
                least=0,
                most=86_400,
            ),
        ),
    ),
    conventions=(_RUN_MIGRATIONS,),
    at_the_end=(_RUN_MIGRATIONS,),
    switch=(LeaveMigrations(),),
    preview=(TellMigrations(),),
)
