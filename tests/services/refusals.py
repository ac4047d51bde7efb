"""What tests of bad input ask of every command: one sentence, its status, no traceback."""

from tests.services import warm


def refused(hub, *words, status, command="manyarm", given="", **environ):
    """What a command says that ends with this status: one sentence, no traceback."""
    done = warm.run(command, *words, env=hub.environ | environ, given=given)
    assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1, done.stderr
    return told[0].removeprefix("Error: ")


def apply(hub, text):
    (hub.folder / "file.yaml").write_text(text)
    return hub.run("manyarm", "apply", "-f", str(hub.folder / "file.yaml"))
