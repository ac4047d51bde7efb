"""The runner as a package."""

import hashlib

import pytest

from hub.packages.download import open_package
from hub.packages.references import refs_for
from hub.packages.runner_package import latest_runner, publish_runner, release_of
from hub.storage.hub_keys import signing_key
from hub.storage.models import PackageVersion
from runner.build import BuiltRunner, build
from runner.release import RELEASE, SEMVER
from tests.fakes.feed import zip_of
from wire.documents import HighWaterMark, RunnerDocument, accept_runner
from wire.messages import PackageRole
from wire.roles import Role


@pytest.fixture
def publish(feed):
    key = signing_key(feed.hub.engine, Role.HUB_RELEASE)
    return lambda built: publish_runner(feed.hub.acting(), feed.ingestion, built, key)


def test_the_built_runner_is_published_once_with_a_document_that_a_spoke_accepts(feed, publish, tmp_path):
    built = build(tmp_path / "runner.pyz")
    row = publish(built)
    assert publish(built).id == row.id
    assert PackageVersion.select().count() == 1
    ref = refs_for(feed.hub.engine, row.id, role=PackageRole.RUNNER)
    assert (ref.role, ref.sha256, ref.package) == (PackageRole.RUNNER, built.sha256, "manyarm-runner")
    now_s = feed.hub.acting().now_ms // 1_000
    document = RunnerDocument.open(bytes.fromhex(ref.release), feed.hub.trust.directory(), now_s)
    assert (document.sha256, document.size, document.release) == (built.sha256, built.size, built.release)
    assert b"".join(open_package(feed.store, feed.hub.portal, row)) == built.path.read_bytes()


def test_other_bytes_are_a_higher_release_that_names_the_one_before(feed, publish, tmp_path):
    first = publish(build(tmp_path / "runner.pyz"))
    changed = tmp_path / "changed.pyz"
    changed.write_bytes(zip_of(**{"__main__.py": b"print('another')\n"}))
    second = publish(_built(changed))
    before, after = release_of(first), release_of(second)
    assert after.release == before.release + 1
    assert after.prev_release_sha256 == before.sha256
    assert latest_runner().id == second.id
    mark = HighWaterMark(before.release, before.sha256, frozenset({"k"}))
    now_s = feed.hub.acting().now_ms // 1_000
    assert accept_runner(after, mark, min_release=0, kids=["k"], at=now_s).number == after.release


def test_going_back_to_older_bytes_is_a_newer_document_that_names_them(feed, publish, tmp_path):
    old = build(tmp_path / "runner.pyz")
    publish(old)
    changed = tmp_path / "changed.pyz"
    changed.write_bytes(zip_of(**{"__main__.py": b"print('another')\n"}))
    publish(_built(changed))
    back = publish(old)
    assert (release_of(back).release, release_of(back).sha256) == (old.release + 2, old.sha256)


def _built(path) -> BuiltRunner:
    content = path.read_bytes()
    return BuiltRunner(path, hashlib.sha256(content).hexdigest(), len(content), RELEASE, SEMVER, {})
