"""The servers that any test may ask for: tests/services starts real ones, private to this session."""

pytest_plugins = ["tests.services.rabbitmq", "tests.services.postgres", "tests.services.whole", "tests.services.sshd"]
