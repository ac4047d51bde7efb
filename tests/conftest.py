"""The servers that any test may ask for, each private to this session; its order, and the matrix printed at its end."""

pytest_plugins = [
    "tests.services.order",
    "tests.services.rabbitmq",
    "tests.services.postgres",
    "tests.services.mariadb",
    "tests.services.whole",
    "tests.services.sshd",
    "tests.conformance.matrix",
]
