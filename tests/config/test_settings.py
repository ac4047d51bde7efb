"""Settings come from a file and the environment, and every fault is named at once."""

import dataclasses
import re
from pathlib import Path

import pytest

from config.errors import SettingsInvalid
from config.limits import HubLimits, SpokeLimits
from config.settings import HubSettings, SpokeSettings

CONFIG = Path("config")


def test_without_a_file_every_setting_has_its_default(tmp_path):
    settings = HubSettings.load(tmp_path, {})
    assert settings.portal_bind == "127.0.0.1:8080"
    assert settings.database == f"sqlite:///{tmp_path}/manyarm.db"


def test_the_environment_wins_over_the_file(tmp_path):
    (tmp_path / "hub.toml").write_text(
        'portal_bind = "127.0.0.1:1"\ngateway_bind = "127.0.0.1:2"\n[limits]\nstreams = 7\n'
    )
    settings = HubSettings.load(tmp_path, {"MANYARM_PORTAL_BIND": "127.0.0.1:3", "MANYARM_LIMIT_INBOX_BATCH": "9"})
    assert (settings.portal_bind, settings.gateway_bind) == ("127.0.0.1:3", "127.0.0.1:2")
    assert (settings.limits.streams, settings.limits.inbox_batch) == (7, 9)


def test_every_fault_is_named_with_its_place(tmp_path):
    (tmp_path / "hub.toml").write_text('portal_bind = 8080\n\nportal_bnd = "x"\n[limits]\nstreams = "many"\n')
    with pytest.raises(SettingsInvalid) as caught:
        HubSettings.load(tmp_path, {"MANYARM_TRUSTED_PROXIES": "10.0.0.1", "MANYARM_LIMIT_STREAM_S": "soon"})
    faults = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 4
    assert "hub.toml:1: portal_bind is 8080; expected a text" in faults
    assert "hub.toml:3: unknown key 'portal_bnd'; known are" in faults
    assert "hub.toml:5: streams is 'many'; expected a whole number" in faults
    assert "MANYARM_LIMIT_STREAM_S: stream_s is 'soon'" in faults


def test_broken_toml_is_told_with_its_line(tmp_path):
    (tmp_path / "hub.toml").write_text("portal_bind = \n")
    with pytest.raises(SettingsInvalid, match="line 1"):
        HubSettings.load(tmp_path, {})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"MANYARM_PORTAL_BIND": "8080"}, "no address"),
        ({"MANYARM_GATEWAY_BIND": "host:99999"}, "no address"),
        ({"MANYARM_LOG_LEVEL": "LOUD"}, "expected one of"),
        ({"MANYARM_LIMIT_REPUBLISH_S": "700"}, "republish_s must be shorter"),
        ({"MANYARM_LIMIT_STREAMS": "0"}, "must be more than 0"),
        ({"MANYARM_LIMIT_STREAMS": "١٢"}, "expected a whole number"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_with_a_sentence(tmp_path, environ, words):
    with pytest.raises(SettingsInvalid, match=words):
        HubSettings.load(tmp_path, environ)


def test_a_portal_that_others_can_reach_without_tls_is_refused(tmp_path):
    open_portal = HubSettings.load(tmp_path, {"MANYARM_PORTAL_BIND": "0.0.0.0:8080"})
    with pytest.raises(SettingsInvalid, match="MANYARM_PORTAL_TLS"):
        open_portal.refuse_open_portal()
    HubSettings.load(tmp_path, {}).refuse_open_portal()
    behind = {"MANYARM_PORTAL_ORIGIN": "https://x.example", "MANYARM_TRUSTED_PROXIES": "10.0.0.1"}
    HubSettings.load(tmp_path, {"MANYARM_PORTAL_BIND": "0.0.0.0:8080", **behind}).refuse_open_portal()


def test_every_limit_of_the_hub_limits_something():
    source = "".join(path.read_text() for room in ("hub", "portal") for path in (CONFIG.parent / room).rglob("*.py"))
    idle = [f.name for f in dataclasses.fields(HubLimits) if not re.search(rf"limits\.{f.name}\b", source)]
    assert idle == []


@pytest.mark.parametrize(
    ("file", "cls", "limits", "prefix"),
    [("hub.toml", HubSettings, HubLimits, "MANYARM_"), ("spoke.toml", SpokeSettings, SpokeLimits, "MANYARM_SPOKE_")],
)
def test_the_shipped_file_names_every_key_with_its_default_and_no_other(tmp_path, file, cls, limits, prefix):
    text = (CONFIG / file).read_text()
    keys = re.findall(r"^#([a-z_]+) = ", text, re.MULTILINE)
    expected = [f.name for f in dataclasses.fields(cls) if f.name not in {"home", "limits"}]
    assert keys == expected + [f.name for f in dataclasses.fields(limits)]
    (tmp_path / file).write_text(re.sub(r"^#([a-z_]+ = )", r"\1", text, flags=re.MULTILINE))
    assert cls.load(tmp_path, {}) == cls(home=tmp_path)
    assert f"{prefix}LIMIT_<KEY>" in text
