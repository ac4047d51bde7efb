"""What `manyarm deploy --plan --files` makes of a target's log."""

from click.testing import CliRunner

from hub.cli.client.deploy import deploy
from hub.cli.client.preview import changes_in

LOG = """\
comparing storefront 1.0.0 (3 files) with what a deployment would make of it
substituted variables in a.txt
would change a.txt: +2 -1
--- a/a.txt
+++ b/a.txt
@@ -1,3 +1,4 @@
 would change x: +1 -1
--- looks like a head
+++ looks like one too
+@@ -1,1 +1,1 @@
 end
@@ -20,2 +21,2 @@
-a
+b
 c
would make b: c: +1 -0, 2 places are not shown
--- /dev/null
+++ b/b: c
@@ -0,0 +1,1 @@
+x
would change logo.png: binary, 3 bytes become 4
3 of 3 files would change
"""


def test_files_are_told_from_what_stands_in_them():
    found = changes_in(LOG.splitlines())
    assert found["lines"] == [*LOG.splitlines()[:2], "3 of 3 files would change"]
    assert [(f["change"], f["path"], f["added"], f["removed"], f["note"]) for f in found["files"]] == [
        ("change", "a.txt", 2, 1, ""),
        ("make", "b: c", 1, 0, "2 places are not shown"),
        ("change", "logo.png", 0, 0, "binary, 3 bytes become 4"),
    ]
    assert found["files"][0]["diff"] == "".join(line + "\n" for line in LOG.splitlines()[3:15])
    assert found["files"][2]["diff"] == ""


def test_files_are_looked_at_only_with_a_plan():
    done = CliRunner().invoke(deploy, ["Shop", "--release", "1", "--to", "Here", "--files"], obj={"url": None})
    assert done.exit_code == 2
    assert "--files goes with --plan" in done.output
