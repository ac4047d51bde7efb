"""`manyarm key` rotates, exports and signs beside the database; each step says what comes next."""

import re

PHRASE = "a passphrase that nobody ever guesses\n"


def test_a_key_is_rotated_and_shown(hub):
    said = hub.manyarm("key", "rotate", "command", "--reason", "its holder left")
    assert re.search(r"^new command key [0-9a-f]{32}$", said, re.MULTILINE)
    assert "trust document 2 is in force" in said
    shown = hub.manyarm("key", "show")
    assert re.search(r"hub-command\s+active", shown)
    assert re.search(r"hub-command\s+previous", shown)


def test_with_the_root_in_a_file_the_next_document_is_signed_elsewhere_and_comes_back(hub, tmp_path):
    root, request, signed = (tmp_path / name for name in ("root.key", "request", "signed"))
    assert "root key" in hub.run("manyarm", "doctor").stdout
    hub.manyarm("key", "export-root", str(root), given=PHRASE * 2)
    assert "root key: lies in the hub" not in hub.run("manyarm", "doctor").stdout
    assert "manyarm key sign-trust" in hub.manyarm("key", "rotate", "command")
    assert "waits for the offline root" in hub.manyarm("key", "show")
    assert "waits for the root key" in hub.run("manyarm", "doctor").stdout
    hub.manyarm("key", "trust-request", str(request))
    # Where the root is there is no hub.
    elsewhere = ("--home", str(tmp_path / "nowhere"))
    hub.manyarm(*elsewhere, "key", "sign-trust", str(request), "--root", str(root), "--out", str(signed), given=PHRASE)
    assert "trust document 2 is in force" in hub.manyarm("key", "import-trust", str(signed))
    assert "waits" not in hub.manyarm("key", "show")
    hub.manyarm("key", "rotate", "portal")
    assert "trust document 3 is in force" in hub.manyarm("key", "sign-trust", "--root", str(root), given=PHRASE)
