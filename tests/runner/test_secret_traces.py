"""What a secret had a part in is not shown, in whatever form it went into the text."""

import base64
import hashlib
import json
import random

import pytest

from runner.contract.template import expand
from runner.secret_traces import stand_ins, without_traces

SECRETS = {"Token": "s3cr3t-Token!", "Pin": "42", "Word": "test", "Many": "first line\nsecond\n\nlast", "Db": '{"Host": "db-17.inner", "Port": 5432, "On": true}'}  # fmt: skip


def shown(template, **secrets):
    given = {**SECRETS, **secrets}
    real, other = (expand(template, values, verbatim=given).split("\n") for values in (given, stand_ins(given)))
    return without_traces(real, other)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("token = #{Token}; # of #{Word}", ["token = ***"]),
        ("token = #{Token};\nplain", ["token = ***;", "plain"]),
        ("pin=#{Pin}", ["pin=***"]),
        ("#{Word}", ["***"]),
        ("x#{Word}y", ["***"]),
        ('{"a": "#{Token | ToUpper}"}', ['{"a": "***"}']),
        ("basic #{Token | ToBase64}.", ["basic ***==."]),
        ("hash: #{Token | Sha256}", ["hash: ***"]),
        ("first: #{Token | Substring 2}", ["first: ***"]),
        ('#{if Token == "s3cr3t-Token!"}yes\nand more\n#{/if}end', ["***", "***", "end"]),
        ("host #{Db.Host}:#{Db.Port} on", ["host *** on"]),
        ("#{each c in Db}#{c}\n#{/each}", ["Host", "Port", "On", ""]),
        ("before\n#{Many}\nafter", ["before", "***", "***", "", "***", "after"]),
    ],
)
def test_the_table_of_ways_for_a_secret_into_a_text(template, expected):
    found = shown(template)
    assert found == expected
    assert not any(secret in "\n".join(found) for secret in ("s3cr3t", "42", "test", "db-17", "5432", "second"))


def test_secrets_in_random_forms_never_stay():
    maker = random.Random(7)
    for _ in range(300):
        secret = "".join(maker.choice("abcXYZ0189 !$%&/()=?\\\"'üß") for _ in range(maker.randrange(1, 30)))
        forms = [
            "Token",
            "Token | ToBase64",
            "Token | ToUpper",
            "Token | JsonEscape",
            "Token | XmlEscape",
            "Token | Sha256",
        ]
        template = "".join(f"key{n} = [#{{{form}}}]\n" for n, form in enumerate(forms))
        found = [line.replace("=]", "]").replace("=]", "]") for line in shown(template, Token=secret)]
        assert found[:6] == [f"key{n} = [***]" for n in range(6)], (secret, found)


def test_stand_ins_have_the_shape_and_nothing_else_of_the_secret():
    for _ in range(50):
        made = stand_ins(SECRETS)
        assert all(made[name] != value for name, value in SECRETS.items())
        assert made["Pin"].isdigit()
        assert made["Many"].count("\n") == 3
        body = json.loads(made["Db"])
        assert set(body) == {"Host", "Port", "On"}
        assert not any(a == b for a, b in zip(made["Token"], SECRETS["Token"], strict=True))


def test_what_cannot_be_told_apart_is_hidden_whole():
    assert without_traces(["a", "b", "c"], ["a"]) == ["a", "***", "***"]
    digest = hashlib.sha256(b"x").hexdigest()
    assert without_traces([digest], [base64.b64encode(b"y").decode()]) == ["***"]
