import copy
import json
import logging

import pytest

from wire.secret import Secret

VALUE = "canary-4711"


def test_whatever_prints_a_secret_shows_stars(caplog):
    secret = Secret(VALUE)
    shown = [
        str(secret),
        repr(secret),
        f"{secret} {secret!r} {secret:>10}",
        "%s %r" % (secret, secret),  # noqa: UP031  the old way prints too
        "{} {!r}".format(secret, secret),  # noqa: UP032  the old way prints too
        "-".join((secret, *"xy")),
        "x" + secret + "y",
        secret[:],
        json.dumps({"password": secret}),
        repr({"password": secret}),
        str(ValueError(secret)),
        secret.upper(),
        ascii(secret),
    ]
    with caplog.at_level(logging.INFO):
        logging.getLogger("t").info("password %s", secret)
    assert not [text for text in [*shown, caplog.text] if VALUE.casefold() in text.casefold()]


def test_only_reveal_gives_the_value():
    assert Secret(VALUE).reveal() == VALUE
    assert copy.deepcopy(Secret(VALUE)).reveal() == VALUE


def test_secrets_are_equal_by_value_and_never_equal_to_texts():
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("canary-4712")
    assert Secret("pässword") != Secret("passwörd")
    assert Secret(VALUE) != VALUE
    assert Secret(VALUE) != "***"
    assert len({Secret(VALUE), Secret(VALUE)}) == 1


def test_an_empty_secret_is_false_and_others_are_true():
    assert not Secret("")
    assert Secret(VALUE)


def test_a_secret_is_not_serialised_as_an_object():
    with pytest.raises(TypeError):
        Secret(VALUE).__reduce_ex__(4)
